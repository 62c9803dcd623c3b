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
from tests.host.scratch import Host, bundle

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
        for name, place in self._places():
            shutil.copytree(place, self._kept / name)

    def _places(self) -> list[tuple[str, Path]]:
        fake = self.host.fake
        return [("root", self.host.root), ("active", fake / "active"), ("enabled", fake / "enabled")]

    def reset(self) -> None:
        for name, place in self._places():
            shutil.rmtree(place)
            shutil.copytree(self._kept / name, place, symlinks=True)

    def assert_nothing_torn(self, when: str) -> None:
        """Each live file is entirely the old or entirely the new one, and the way back is readable."""
        for path in PATHS:
            assert self.host.live(path) in {self.origin.get(path), NEW.get(path)}, f"{path} {when}"
        state = Root(base=self.host.root).service("postfix")
        if self.origin == OLD:
            kept = generations.contents(state, 1, generations.load(state, 1))
            assert {path: content.decode() for path, content in kept.items()} == OLD, when
        if MAIN in generations.originals(state).files:
            original = generations.wanted(state, 0, MAIN)
            assert isinstance(original, generations.Content), when
            assert original.data.decode() == BEFORE[MAIN], when
        else:
            assert self.host.live(MAIN) == BEFORE[MAIN], when

    def assert_new(self, when: str) -> None:
        """The new state, complete, and nothing left of the attempts."""
        assert {path: self.host.live(path) for path in NEW} == NEW, when
        assert self.host.live(USERS) is None, when
        assert self.host.running == NEW[MAIN], when
        self._assert_clean(when)

    def assert_files_before(self, when: str) -> None:
        """The files that the attempts started from."""
        assert {path: self.host.live(path) for path in PATHS if self.host.live(path)} == self.origin, when

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


APPLY = ["apply", "postfix"]
REMOVE = ["remove", "postfix"]


def deaths(stage: Stage, argv: list[str], stdin: str = "", *, stride: int = 1) -> Iterator[int]:
    """Lets the command die at every step (or each `stride`th); yields the step, with the host as the dead left it."""
    for step in range(1, 10_000, stride):
        stage.reset()
        if crashes.run(stage.host, argv, stdin, die_at=step) is not None:
            assert step > 20, "there are not so few steps: they are not counted"
            return
        yield step


def test_apply_may_die_at_any_step(stage: Stage) -> None:
    steps = 0
    for step in deaths(stage, APPLY, bundle(NEW)):
        steps = step
        stage.assert_nothing_torn(f"dead at step {step}")
        crashes.run(stage.host, APPLY, bundle(NEW))
        stage.assert_new(f"repeated after death at step {step}")
    assert steps > 80


def test_remove_may_die_at_any_step(stage: Stage) -> None:
    crashes.run(stage.host, APPLY, bundle(NEW))
    stage = Stage(stage.host, stage.host.root.parent / "applied", stage.origin)
    for step in deaths(stage, REMOVE, stride=2):
        crashes.run(stage.host, REMOVE)
        stage.assert_before(f"removed after death at step {step}")


def test_remove_instead_of_a_second_try(stage: Stage) -> None:
    for step in deaths(stage, APPLY, bundle(NEW), stride=5):
        crashes.run(stage.host, REMOVE)
        stage.assert_before(f"removed after death at step {step}")


# After a first apply the change of mind is a removal, as above.
@pytest.mark.parametrize("stage", ["second apply"], indirect=True)
def test_the_former_files_again_after_death_at_any_step(stage: Stage) -> None:
    for step in deaths(stage, APPLY, bundle(NEW), stride=3):
        crashes.run(stage.host, APPLY, bundle(OLD))
        assert {path: stage.host.live(path) for path in PATHS if stage.host.live(path)} == OLD, f"death at step {step}"
        assert stage.host.running == OLD[MAIN], f"death at step {step}"


def test_recovery_may_die_too(stage: Stage) -> None:
    world = crashes.run(stage.host, APPLY, bundle(NEW))
    assert world is not None
    chance = random.Random(20261122)  # noqa: S311 -- nothing secret
    for _ in range(40):
        first, second = chance.randint(1, world.steps), chance.randint(1, world.steps)
        stage.reset()
        crashes.run(stage.host, APPLY, bundle(NEW), die_at=first)
        crashes.run(stage.host, APPLY, bundle(NEW), die_at=second)
        stage.assert_nothing_torn(f"dead at steps {first} and {second}")
        crashes.run(stage.host, APPLY, bundle(NEW))
        stage.assert_new(f"repeated after death at steps {first} and {second}")


def test_each_step_is_on_disk_before_the_next_relies_on_it(stage: Stage) -> None:
    """Replays the trace of one apply: at each milestone no written file and no new name is still unsynced."""
    world = crashes.run(stage.host, APPLY, bundle(NEW))
    assert world is not None
    unsynced: set[str] = set()
    milestones = []
    for name, args in world.trace:
        place = str(args[-1])
        if not place.startswith(str(stage.host.root)) or "candidate" in place or place.endswith("/lock"):
            continue
        milestone = (name, Path(place).name)
        if milestone in {("replace", "journal.json"), ("replace", "current"), ("unlink", "journal.json")}:
            milestones.append(milestone)
            assert unsynced == set(), milestone
        match name, args:
            case "fsync", (path,):
                unsynced.discard(str(path))
            case "open", (path,):
                unsynced.add(str(path))
            case "mkdir" | "unlink", (path, *_):
                unsynced.add(str(Path(path).parent))
            case "replace", (source, target):
                assert str(source) not in unsynced, f"{target} renamed before its content was on disk"
                unsynced.add(str(Path(target).parent))
    assert milestones == [("replace", "journal.json"), ("replace", "current"), ("unlink", "journal.json")]
