"""The promise of the whole thing: whatever dies, and wherever, no live file is torn and there is always a way on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailhostctl import generations
from mailhostctl.paths import Root
from tests.host import crashes
from tests.host.scratch import Host, manifest

MAIN = "/etc/postfix/main.cf"
MASTER = "/etc/postfix/master.cf"
USERS = "/etc/postfix/virtual_mailboxes"
HOOK = "/etc/made/by/us.conf"
BEFORE = {MAIN: "the package's own\n"}
OLD = {MAIN: "inet_protocols = ipv4\n", MASTER: "old master\n", USERS: "old users\n"}
NEW = {MAIN: "inet_protocols = all\n", MASTER: "new master\n", HOOK: "new\n"}
PATHS = sorted({*OLD, *NEW})
Files = dict[str, str]


class Stage:
    """A scratch host in a prepared state that each attempt starts from."""

    def __init__(self, host: Host, folder: Path, origin: Files) -> None:
        self.host = host
        self.origin = origin
        self._kept = folder / "kept"
        shutil.copytree(host.root, self._kept / "root")
        shutil.copytree(host.fake, self._kept / "fake", symlinks=True)

    def reset(self) -> None:
        for name, place in (("root", self.host.root), ("fake", self.host.fake)):
            shutil.rmtree(place)
            shutil.copytree(self._kept / name, place, symlinks=True)

    def assert_nothing_torn(self, when: str) -> None:
        """Each live file is entirely the old or entirely the new one, and the way back is readable."""
        for path in PATHS:
            assert self.host.live(path) in {self.origin.get(path), NEW.get(path)}, f"{path} {when}"
        state = Root(base=self.host.root).service("postfix")
        applied = generations.current(state)
        for path, content in self.origin.items():
            if applied <= 1 and path in generations.load(state, applied).files:
                want = generations.wanted(state, applied, path)
                assert isinstance(want, generations.Content), when
                assert want.data.decode() == content, when
        if applied == 2:
            assert generations.contents(state, 1, generations.load(state, 1)), when

    def assert_new(self, when: str) -> None:
        """The new state, complete, and nothing left of the attempts."""
        assert {path: self.host.live(path) for path in NEW} == NEW, when
        assert self.host.live(USERS) is None, when
        assert self.host.running == NEW[MAIN], when
        self._assert_clean(when)

    def assert_before(self, when: str) -> None:
        """What was there before us, and nothing left of the attempts."""
        assert {path: self.host.live(path) for path in PATHS if self.host.live(path)} == BEFORE, when
        assert not (self.host.root / "etc/made").exists(), when
        assert self.host.running is None, when
        self._assert_clean(when)

    def _assert_clean(self, when: str) -> None:
        left = [str(path) for path in self.host.root.rglob("*") if path.name.endswith("~")]
        left += [str(path) for path in self.host.state("postfix").rglob("*") if path.suffix in {".new", ".old"}]
        assert left == [], when
        assert not self.host.state("postfix/journal.json").exists(), when
        assert not self.host.state("postfix/candidate").exists(), when


@pytest.fixture(params=["first apply", "second apply"])
def stage(host: Host, tmp_path: Path, request: pytest.FixtureRequest) -> Stage:
    host.write(MAIN, BEFORE[MAIN])
    origin = BEFORE
    if request.param == "second apply":
        assert host.apply("postfix", OLD) == 0
        origin = OLD
    host.stage("postfix", NEW)
    return Stage(host, tmp_path, origin)


APPLY = ["apply", "postfix"]
REMOVE = ["remove", "postfix"]


def _deaths(stage: Stage, argv: list[str], stdin: str = "") -> Iterator[int]:
    """Lets the command die at each step in turn; yields the step, with the host as the dead process left it."""
    step = 0
    while True:
        step += 1
        stage.reset()
        code, _ = crashes.run(stage.host, argv, stdin, die_at=step)
        if code != crashes.DIED:
            assert code == 0
            return
        yield step


def test_apply_may_die_at_any_step(stage: Stage) -> None:
    steps = 0
    for step in _deaths(stage, APPLY, manifest(NEW)):
        steps = step
        stage.assert_nothing_torn(f"dead at step {step}")
        assert crashes.run(stage.host, APPLY, manifest(NEW))[0] == 0
        stage.assert_new(f"repeated after death at step {step}")
    assert steps > 80


def test_remove_may_die_at_any_step(stage: Stage) -> None:
    assert crashes.run(stage.host, APPLY, manifest(NEW))[0] == 0
    stage = Stage(stage.host, stage.host.root.parent / "applied", stage.origin)
    for step in _deaths(stage, REMOVE):
        assert crashes.run(stage.host, REMOVE)[0] == 0
        stage.assert_before(f"removed after death at step {step}")


def test_remove_instead_of_a_second_try(stage: Stage) -> None:
    for step in _deaths(stage, APPLY, manifest(NEW)):
        if step % 3 == 0:
            assert crashes.run(stage.host, REMOVE)[0] == 0
            stage.assert_before(f"removed after death at step {step}")


def test_recovery_may_die_too(stage: Stage) -> None:
    steps = max(_deaths(stage, APPLY, manifest(NEW)))
    chance = random.Random(20261122)
    for _ in range(150):
        first, second = chance.randint(1, steps), chance.randint(1, steps)
        stage.reset()
        crashes.run(stage.host, APPLY, manifest(NEW), die_at=first)
        crashes.run(stage.host, APPLY, manifest(NEW), die_at=second)
        stage.assert_nothing_torn(f"dead at steps {first} and {second}")
        assert crashes.run(stage.host, APPLY, manifest(NEW))[0] == 0
        stage.assert_new(f"repeated after death at steps {first} and {second}")


def test_staging_may_die_at_any_step(host: Host, tmp_path: Path) -> None:
    host.write(MAIN, BEFORE[MAIN])
    host.stage("postfix", OLD)
    stage = Stage(host, tmp_path, BEFORE)
    argv = ["stage", "postfix", MAIN, "--mode", "0644", "--owner", "root:root"]
    for step in _deaths(stage, argv, NEW[MAIN]):
        code, _ = crashes.run(host, APPLY, manifest(OLD))
        assert host.live(MAIN) == (OLD if code == 0 else BEFORE)[MAIN], f"step {step}"
        assert crashes.run(host, argv, NEW[MAIN])[0] == 0
        assert crashes.run(host, APPLY, manifest({**OLD, MAIN: NEW[MAIN]}))[0] == 0, f"step {step}"
        assert host.live(MAIN) == NEW[MAIN]
