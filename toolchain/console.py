"""What the user sees while tools are fetched and built: lines and progress, all of it on standard error."""

import sys
import time
from types import TracebackType
from typing import Final, Self

_LINE_EVERY_S: Final = 15.0
_REDRAW_EVERY_S: Final = 0.1


class ToolchainError(Exception):
    """Something is missing or failed; the text is complete for the user and names what to do."""


def say(text: str) -> None:
    """Tells the user one thing, on standard error."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Counts steps of one long task: a line that redraws itself on a terminal, a line every 15 s in a log."""

    def __init__(self, task: str, *, total: int | None = None) -> None:
        self._task = task
        self._total = total
        self._count = 0
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown = self._started - (_LINE_EVERY_S - 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if error is None:
            say(f"{self._task}: done in {time.monotonic() - self._started:.0f} s")

    def advance(self, to: int, detail: str = "") -> None:
        """Shows that `to` steps are done; `detail` says of what."""
        self._count = to
        now = time.monotonic()
        if now - self._shown < (_REDRAW_EVERY_S if self._terminal else _LINE_EVERY_S):
            return
        self._shown = now
        amount = f"{self._count} of {self._total}" if self._total else f"{self._count}"
        line = f"{self._task}: {amount} {detail} ({now - self._started:.0f} s)"
        if self._terminal:
            print(f"\r\033[K{line[:110]}", end="", file=sys.stderr, flush=True)
        else:
            say(line)
