"""What an operator is told when something cannot be done."""

from collections.abc import Iterable


class AccountsError(Exception):
    """Every reason, one per line, each with its fix. A password or hash is never in it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
