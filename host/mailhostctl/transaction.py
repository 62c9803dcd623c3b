"""Moves a service from one generation to another, with a way back from wherever it dies.

The order that makes it safe (each step durable before the next):

1. the new generation is complete on disk, and generation 0 knows the originals of paths not managed so far;
2. the journal names both generations;
3. every live file is exchanged by one rename, then the daemon is told and its health is probed;
4. `current` names the new generation: this is the commit;
5. the journal goes.

A journal that is found names either a finished change (`current` is already its target) or one to be undone: the files
of its origin are put back from that generation's own copies, and the daemon is told. Both can themselves be interrupted
and repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mailhostctl import durable, generations, probes, staging, validate
from mailhostctl.generations import Wanted
from mailhostctl.manifest import Manifest, owner_ids
from mailhostctl.paths import Root, ServiceState
from mailhostctl.services import Service
from mailhostctl.system import MailhostError, must, say


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """All changes of one service on one file system, each under the service's lock."""

    root: Root
    service: Service

    @property
    def state(self) -> ServiceState:
        """Where this service's state lies."""
        return self.root.service(self.service.name)

    def apply(self, text: bytes) -> Manifest:
        """Makes the files in `text` (see `staging`) live; returns their manifest.

        Raises `MailhostError` with the daemon's own words when it cannot; then everything is as before.
        """
        manifest, contents = staging.read(text)
        with durable.locked(self.state.lock):
            self._recover()
            self._require(manifest)
            if self._applied().text == manifest.text:
                self._again()
            else:
                self._change(manifest, contents)
        return manifest

    def rollback(self, number: int | None) -> int:
        """Applies an earlier generation once more, as a new one; returns its number. None means the one before."""
        with durable.locked(self.state.lock):
            self._recover()
            earlier = [kept for kept in generations.numbers(self.state) if kept < generations.current(self.state)]
            if not earlier or (number is not None and number not in earlier):
                kept = ", ".join(map(str, earlier)) or "none"
                raise MailhostError(f"{self.service.name}: no such earlier generation; kept before this one: {kept}")
            number = earlier[-1] if number is None else number
            manifest = generations.load(self.state, number)
            self._require(manifest)
            return self._change(manifest, generations.contents(self.state, number, manifest))

    def remove(self) -> None:
        """Puts generation 0 back, stops what we started, drops the generations."""
        if not self.state.folder.is_dir():
            return
        with durable.locked(self.state.lock):
            self._recover()
            current = generations.current(self.state)
            if current:
                self._journal(current, 0)
                complaints = self._return(0, self._applied().files)
                if complaints:
                    raise MailhostError("\n".join(complaints))
                durable.write(self.state.current, b"0\n")
                durable.remove(self.state.journal)
            durable.remove_tree(self.state.generations)
            durable.remove_tree(self.state.candidate)
            durable.remove(self.state.current)

    def intact(self) -> bool:
        """Whether every live file is exactly what the current generation says."""
        tree = self._tree(generations.current(self.state), self._applied().files)
        return all(generations.is_live(self.root, path, want) for path, want in tree.items())

    def _applied(self) -> Manifest:
        return generations.load(self.state, generations.current(self.state))

    def _recover(self) -> None:
        """Finishes or undoes what a run that died has left."""
        journal = durable.read(self.state.journal)
        if journal is not None:
            entry = json.loads(journal)
            if generations.current(self.state) != entry["to"]:
                say(f"{self.service.name}: a change was interrupted; putting generation {entry['from']} back")
                self._undo(entry["from"], entry["to"])
        durable.remove(self.state.journal)
        generations.tidy(self.state)

    def _require(self, manifest: Manifest) -> None:
        for path in manifest.requires:
            if not self.root.live(path).exists():
                raise MailhostError(f"{self.service.name}: needs {path}, which does not exist on this host")
        if self.root.gives_ownership:
            for file in manifest.files.values():
                owner_ids(file.owner)

    def _again(self) -> None:
        """The applied manifest once more: nothing happens unless a live file or the daemon is not as it should be."""
        number, manifest = generations.current(self.state), self._applied()
        if self.intact() and self.service.active() and not probes.failures(manifest.health):
            return
        say(f"{self.service.name}: applied before but not intact or not healthy; putting generation {number} in place")
        self._bring(number, manifest.files, health=manifest.health)

    def _change(self, manifest: Manifest, contents: dict[str, bytes]) -> int:
        """From the current generation to a new one, or back."""
        candidate = validate.build(self.state.candidate, manifest, contents)
        validate.common(candidate)
        self.service.validate(candidate)
        durable.remove_tree(self.state.candidate)

        current, applied = generations.current(self.state), self._applied()
        number = generations.create(self.state, manifest, contents)
        fresh = [path for path in manifest.files if path not in applied.files]
        generations.remember(self.root, self.state, fresh, active=self.service.active())
        self._journal(current, number)
        try:
            self._bring(number, {*applied.files, *manifest.files}, health=manifest.health)
        except BaseException:
            say(f"{self.service.name}: failed; putting generation {current} back")
            self._undo(current, number)
            durable.remove(self.state.journal)
            generations.tidy(self.state)
            raise
        durable.write(self.state.current, f"{number}\n".encode())
        durable.remove(self.state.journal)
        generations.tidy(self.state)
        return number

    def _journal(self, origin: int, target: int) -> None:
        durable.write(self.state.journal, json.dumps({"from": origin, "to": target}).encode())

    def _undo(self, origin: int, target: int) -> None:
        paths = {*generations.load(self.state, origin).files, *generations.load(self.state, target).files}
        for complaint in self._return(origin, paths):  # must not hide why we are here
            say(f"{self.service.name}: generation {origin} is in place again, but: {complaint}")

    def _return(self, number: int, paths: Iterable[str]) -> list[str]:
        """Back to a generation that was in effect; to 0 means also: not running, unless it ran before us.

        The files are back when it returns; what it returns are the daemon's complaints.
        """
        complaints: list[str] = []
        originals = generations.originals(self.state)
        before = self.service.fingerprint()
        stop = number == 0 and not originals.active
        if stop:
            complaints += _complaint(self.service.deactivate)
        self._exchange(number, paths)
        complaints += _complaint(lambda: self._settle(paths))
        if not stop:
            complaints += _complaint(lambda: self.service.activate(before))
        if number == 0:
            generations.drop_folders(self.root, originals)
        return complaints

    def _bring(self, number: int, paths: Iterable[str], *, health: tuple[str, ...]) -> None:
        """Exchanges the live files, tells systemd and the daemon, and waits until it is healthy."""
        started = time.time()
        before = self.service.fingerprint()
        self._exchange(number, paths)
        self._settle(paths)
        self.service.activate(before)
        probes.wait(health, self.service, since=started)

    def _exchange(self, number: int, paths: Iterable[str]) -> None:
        """Puts each path as generation `number` has it; reads all of it first: a damaged copy changes nothing."""
        for path, want in self._tree(number, paths).items():
            generations.put(self.root, path, want)
        for folder in sorted({self.root.live(path).parent for path in paths}):
            if folder.is_dir():
                durable.sync_folder(folder)

    def _settle(self, paths: Iterable[str]) -> None:
        """Lets systemd see its own kinds of files. Never skipped: a run that died may have exchanged them already."""
        for folder, command in _SYSTEMD:
            files = [str(self.root.live(path)) for path in sorted(paths) if path.startswith(folder)]
            present = [file for file in files if Path(file).is_file()]
            if present:
                must([*command, *present])
        if any(path.startswith("/etc/systemd/") for path in paths):
            must(["systemctl", "daemon-reload"])

    def _tree(self, number: int, paths: Iterable[str]) -> dict[str, Wanted]:
        return {path: generations.wanted(self.state, number, path) for path in sorted(paths)}


_SYSTEMD = (("/etc/sysusers.d/", ("systemd-sysusers",)), ("/etc/tmpfiles.d/", ("systemd-tmpfiles", "--create")))


def _complaint(action: Callable[[], None]) -> list[str]:
    try:
        action()
    except MailhostError as error:
        return [str(error)]
    return []
