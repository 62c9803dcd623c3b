"""Many questions, one deadline."""

import io
import threading
import time

from doctor.patience import Late, Work


def test_answers_come_by_name_and_errors_are_answers() -> None:
    def fails() -> None:
        raise ValueError("no")

    found = Work(deadline=time.monotonic() + 10, progress=None).all({"a": lambda: 1, "b": fails})
    assert found["a"] == 1
    assert isinstance(found["b"], ValueError)


def test_nobody_waits_longer_than_the_deadline() -> None:
    never = threading.Event()
    started = time.monotonic()
    found = Work(deadline=started + 0.2, progress=None).all({"slow": lambda: never.wait(30), "quick": lambda: 1})
    assert time.monotonic() - started < 5
    assert found["quick"] == 1
    assert isinstance(found["slow"], Late)
    never.set()


def test_no_questions_have_no_answers() -> None:
    assert Work(deadline=0, progress=None).all({}) == {}


def test_progress_is_for_terminals_only() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, wanted in ((Terminal(), True), (io.StringIO(), False)):
        Work(deadline=time.monotonic() + 10, progress=stream).all({"a": lambda: 1})
        assert ("1 of 1" in stream.getvalue()) is wanted
