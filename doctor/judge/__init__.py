"""What it means: pure functions from observations to findings."""
