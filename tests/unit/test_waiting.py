"""The tools of the end-to-end tests: what waits, and what knows whether the host has the settings."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.addresses import MACHINES
from lab.clients import wait_for
from tests.e2e.stack import Stack


def test_waiting_ends_when_the_answer_is_true() -> None:
    answers: list[object] = [None, False, 0, "", "there", "never asked"]
    assert wait_for(lambda: answers.pop(0), "it") == "there"
    assert answers == ["never asked"]


@pytest.mark.parametrize("answer", [None, False, 0, "", []])
def test_an_answer_that_is_not_true_is_no_answer(answer: object) -> None:
    with pytest.raises(TimeoutError, match="the mail did not come within 0 s"):
        wait_for(lambda: answer, "the mail", seconds=0)


@dataclass(frozen=True)
class Engine:
    """A pulumi command that does as it is told, and a stack whose settings a test may change."""

    stack: Stack
    folder: Path

    def does(self, script: str) -> None:
        command = self.folder / "pulumi"
        command.write_text(f"#!/bin/sh\necho $1 >> {self.folder}/calls\n[ $1 != up ] || {script}\n")
        command.chmod(0o755)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().split()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    made = Engine(stack=Stack(machine=MACHINES["e13"], folder=tmp_path, environment=environment), folder=tmp_path)
    made.stack.configure({"domain": "e13.example"})
    made.does("true")
    made.stack.up().must_pass()
    return made


def test_settings_that_are_applied_are_not_applied_again(engine: Engine) -> None:
    engine.stack.settle()
    assert engine.calls() == ["up"]


def test_a_failed_update_leaves_the_host_unknown(engine: Engine) -> None:
    engine.does("false")
    with engine.stack.kept():
        engine.stack.configure({"messageSizeLimit": 1})
        assert engine.stack.up().code == 1
    engine.does("true")
    engine.stack.settle()
    assert engine.calls() == ["up"] * 3


def test_an_update_that_was_cut_off_leaves_the_host_unknown(engine: Engine) -> None:
    engine.does(f"exec {sys.executable} -c 'import time; time.sleep(60)'")
    engine.stack.cut_off(engine.stack.start_up(), lambda: engine.calls() == ["up", "up"], "the update")
    engine.does("true")
    engine.stack.settle()
    assert engine.calls() == ["up", "up", "cancel", "up"]


def test_an_update_that_has_ended_cannot_be_cut_off(engine: Engine) -> None:
    engine.does("echo all done")
    running = engine.stack.start_up()
    with pytest.raises(AssertionError, match="all done"):
        engine.stack.cut_off(running, lambda: False, "the update")


def test_settings_changed_during_an_update_are_not_applied(engine: Engine) -> None:
    engine.does(f"echo '{{}}' > {engine.stack.folder}/Pulumi.e13.yaml")
    engine.stack.up().must_pass()
    engine.does("true")
    engine.stack.settle()
    assert engine.calls() == ["up"] * 3


def test_a_program_that_was_changed_leaves_the_host_unknown(engine: Engine) -> None:
    template = engine.folder / "main.cf"
    template.write_text("good\n")
    with engine.stack.extended("main.cf", "more\n"):
        assert template.read_text() == "good\nmore\n"
        engine.stack.up().must_pass()
    assert template.read_text() == "good\n"
    engine.stack.settle()
    assert engine.calls() == ["up"] * 3
