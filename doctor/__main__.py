"""`python -m doctor`."""

from doctor.command_line import run

if __name__ == "__main__":
    run()
