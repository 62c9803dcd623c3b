"""Runs many questions at once, within one deadline."""

import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TextIO

_WORKERS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Late:
    """What stands for an answer that did not come."""

    reason: str


def reason(answer: object) -> str:
    """Say why something is not the answer that was hoped for: it came late, or it is an exception."""
    if isinstance(answer, Late):
        return answer.reason
    with suppress(Exception):
        return f"{type(answer).__name__}: {answer}"
    return "no answer"


@dataclass(kw_only=True)
class Work:
    """Questions by name, asked in threads that nobody waits for after the deadline.

    A pool of the standard library would be joined at exit, and one silent server would hold the program.
    """

    deadline: float
    """By time.monotonic()."""
    progress: TextIO | None = sys.stderr
    command: str = "doctor"
    """Who asks."""

    def all(self, questions: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """Ask everything; an answer is a value, an exception that was raised, or `Late`."""
        waiting: queue.SimpleQueue[tuple[str, Callable[[], Any]]] = queue.SimpleQueue()
        answered: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        for entry in questions.items():
            waiting.put(entry)

        def worker() -> None:
            while True:
                try:
                    name, ask = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    answered.put((name, ask()))
                except Exception as error:
                    answered.put((name, error))  # a judge says it; nobody sees a traceback

        for _ in range(min(_WORKERS, len(questions))):
            threading.Thread(target=worker, daemon=True).start()
        found: dict[str, Any] = {}
        while len(found) < len(questions):
            try:
                name, value = answered.get(timeout=max(0.0, self.deadline - time.monotonic()))
            except queue.Empty:
                break
            found[name] = value
            self._show(len(found), len(questions))
        self._clear()
        return {name: found.get(name, Late(reason="the time was over")) for name in questions}

    def _show(self, done: int, of: int) -> None:
        if self.progress and self.progress.isatty():
            self.progress.write(f"\r{self.command}: {done} of {of} questions answered ")
            self.progress.flush()

    def _clear(self) -> None:
        if self.progress and self.progress.isatty():
            self.progress.write("\r\x1b[K")
            self.progress.flush()
