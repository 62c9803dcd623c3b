"""The one exception of the lab."""


class LabError(Exception):
    """Something the operator can act on: the message names it and the fix, and is all that is printed."""
