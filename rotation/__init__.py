"""The succession of DKIM keys as an operator moves it on: what `make rotate` runs. The program does without."""
