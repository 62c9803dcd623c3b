"""Moves a service from one generation to another, with a way back from wherever it dies.

The order that makes it safe (each step durable before the next):

1. the new generation is complete on disk, and generation 0 knows the originals of paths not managed so far;
2. the journal names both generations;
3. everything that will be needed is written: each file beside the live one, and the next content of `current`. A full
   disk ends it here, with nothing changed;
4. every live file is exchanged by one rename, then the daemon is told and its health is probed;
5. `current` names the new generation, by a rename too: this is the commit;
6. the journal goes.

A journal that is found names either a finished change (`current` is already its target) or one to be undone: the files
of its origin are put back from that generation's own copies, in the same two steps, and the daemon is told. Both can
themselves be interrupted and repeated. The journal goes only when all of it succeeded. A daemon that complains on the
way back keeps the journal, but not the next apply from bringing better files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailhostctl import durable, generations, probes, staging, validate
from mailhostctl.durable import Prepared
from mailhostctl.generations import KEEP, KEEP_DAYS, Wanted
from mailhostctl.manifest import Manifest, owner_ids
from mailhostctl.paths import Root, ServiceState
from mailhostctl.services import Daemon, Service
from mailhostctl.system import MailhostError, described, is_active, must, say


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
            unsettled = self._recover()
            self._require(manifest)
            if self._applied().text == manifest.text and self._undamaged():
                self._again(unsettled=unsettled)
            else:
                self._change(manifest, contents, unsettled=unsettled)
        return manifest

    def rollback(self, number: int | None) -> int:
        """Applies an earlier generation once more, as a new one; returns its number. None means the one before."""
        with durable.locked(self.state.lock):
            unsettled = self._recover()
            earlier = [kept for kept in generations.numbers(self.state) if kept < generations.current(self.state)]
            if not earlier or (number is not None and number not in earlier):
                kept = ", ".join(map(str, earlier)) or "none"
                raise MailhostError(
                    f"{self.service.name}: no such earlier generation; kept before this one: {kept} "
                    f"(at most {KEEP - 1}, each for {KEEP_DAYS} days after the next one)"
                )
            number = earlier[-1] if number is None else number
            manifest = generations.load(self.state, number)
            self._require(manifest)
            return self._change(manifest, generations.contents(self.state, number, manifest), unsettled=unsettled)

    def reapply(self) -> int:
        """Puts the current generation in place again wherever the host differs from it; returns its number."""
        if not self.state.folder.is_dir():
            raise MailhostError(f"{self.service.name}: is not applied on this host; `make drift` says what to do")
        with durable.locked(self.state.lock):
            unsettled = self._recover()
            number = generations.current(self.state)
            if not number:
                raise MailhostError(f"{self.service.name}: is not applied on this host; `make drift` says what to do")
            self._require(self._applied())
            self._again(unsettled=unsettled)
            return number

    def remove(self) -> None:
        """Puts generation 0 back, stops what we started, drops the generations."""
        if not self.state.folder.is_dir():
            return
        with durable.locked(self.state.lock):
            unsettled = self._recover()
            current = generations.current(self.state)
            if current:
                paths = self._applied().files
                exchange, commit = self._begin(current, 0, paths, unsettled=unsettled)
                complaints = self._restore(0, exchange, paths, before=self.service.fingerprint())
                if complaints:
                    commit.discard()
                    raise MailhostError("\n".join(complaints))
                self._commit(commit)
            self._end()
            durable.remove_tree(self.state.generations)
            durable.remove_tree(self.state.candidate)
            durable.remove(self.state.current)

    def intact(self) -> bool:
        """Whether every live file is exactly what the current generation says."""
        tree = self._tree(generations.current(self.state), self._applied().files)
        return all(generations.is_live(self.root, path, want) for path, want in tree.items())

    def _undamaged(self) -> bool:
        """Whether the current generation could be put in place again."""
        try:
            generations.contents(self.state, generations.current(self.state), self._applied())
        except MailhostError:
            return False
        return True

    def _applied(self) -> Manifest:
        return generations.load(self.state, generations.current(self.state))

    def recover(self, *, boot: bool = False) -> bool:
        """Finishes or undoes what a run that died has left; returns whether there was something.

        `boot`: the daemons have not been started yet; none is told, started or waited for. Raises `MailhostError` when
        the journal must stay.
        """
        if durable.read(self.state.journal) is None:
            return False
        with durable.locked(self.state.lock):
            if self._recover(boot=boot):
                raise MailhostError("its files are right, its daemon is not; see: mailhostctl status")
        return True

    def expire(self) -> None:
        """Drops generations that are too old, unless something of them may still be needed."""
        if self.state.folder.is_dir():
            with durable.locked(self.state.lock):
                if durable.read(self.state.journal) is None:
                    generations.tidy(self.state)

    def _recover(self, *, boot: bool = False) -> bool:
        """Finishes or undoes what a run that died has left; returns whether the daemon still has to be told.

        The files are right when it returns. Raises when they cannot be put back.
        """
        journal = durable.read(self.state.journal)
        unsettled = False
        if journal is not None:
            entry = json.loads(journal)
            if generations.current(self.state) != entry["to"]:
                say(f"{self.service.name}: a change was interrupted; putting generation {entry['from']} back")
                unsettled = not self._undo(entry["from"], entry["to"], sure=False, boot=boot)
        if not unsettled:
            self._end()
        return unsettled

    def _end(self) -> None:
        """Forgets an attempt, whatever came of it."""
        durable.forget_temporary(self.state.current)
        durable.remove(self.state.journal)
        generations.tidy(self.state)

    def _require(self, manifest: Manifest) -> None:
        for path in manifest.requires:
            if not self.root.live(path).exists():
                raise MailhostError(f"{self.service.name}: needs {path}, which does not exist on this host")
        if self.root.gives_ownership:
            for file in manifest.files.values():
                owner_ids(file.owner)

    def _again(self, *, unsettled: bool) -> None:
        """The applied manifest once more: nothing happens unless a file, a unit or the daemon is not as it says."""
        number, manifest = generations.current(self.state), self._applied()
        as_applied = self.intact() and not any(self.service.differences())
        if unsettled or not as_applied or probes.failures(manifest.health):
            say(f"{self.service.name}: not as it was applied or not healthy; putting generation {number} in place")
            exchange = self._prepare(number, manifest.files)
            self._activate(exchange, manifest.files, health=manifest.health, sure=not unsettled)
            self._end()

    def _change(self, manifest: Manifest, contents: dict[str, bytes], *, unsettled: bool) -> int:
        """From the current generation to a new one, or back. `unsettled`: there is a journal that must not be lost."""
        self._validate(manifest, contents)
        current, applied = generations.current(self.state), self._applied()
        number = generations.create(self.state, manifest, contents)
        paths = {*applied.files, *manifest.files}
        fresh = [path for path in manifest.files if path not in applied.files]
        exchange, commit = self._begin(current, number, paths, fresh=fresh, unsettled=unsettled)
        try:
            self._activate(exchange, paths, health=manifest.health, sure=not unsettled)
        except BaseException:
            say(f"{self.service.name}: failed; putting generation {current} back")
            self._go_back(current, number)
            raise
        self._commit(commit)
        self._end()
        return number

    def _validate(self, manifest: Manifest, contents: dict[str, bytes]) -> None:
        try:
            candidate = validate.build(self.state.candidate, manifest, contents)
            validate.common(candidate)
            self.service.validate(candidate)
        finally:
            durable.remove_tree(self.state.candidate)

    def _remember(self, fresh: Sequence[str]) -> None:
        running = [unit for unit in self.service.shared if is_active(unit)]
        generations.remember(self.root, self.state, fresh, active=self.service.active(), units=running)

    def _begin(
        self, origin: int, target: int, paths: Iterable[str], *, unsettled: bool, fresh: Sequence[str] = ()
    ) -> tuple[list[Prepared], Prepared]:
        """Journals a change and writes all it needs; returns the exchange of the files, and the commit.

        When it fails, nothing has changed. `fresh`: the paths that are new to us. `unsettled`: there is a journal that
        must not be lost.
        """
        try:
            self._remember(fresh)
            durable.write(self.state.journal, json.dumps({"from": origin, "to": target}).encode())
            commit = durable.prepare(self.state.current, f"{target}\n".encode())
            return self._prepare(target, paths), commit
        except BaseException:
            durable.forget_temporary(self.state.current)
            if not unsettled:
                self._report(_complaints(self._end))
            raise

    def _prepare(self, number: int, paths: Iterable[str]) -> list[Prepared]:
        """Reads all of generation `number` first: a damaged copy changes nothing."""
        return generations.prepare(self.root, self._tree(number, paths))

    def _commit(self, commit: Prepared) -> None:
        commit.commit()
        durable.sync_folder(self.state.folder)

    def _go_back(self, origin: int, target: int) -> None:
        """The way back after a failure, which it must not hide."""
        try:
            settled = self._undo(origin, target, sure=True)
        except (MailhostError, OSError) as error:
            self._report([f"{_words(error)}; the new files stay until this is mended and mailhostctl recover is run"])
        else:
            if settled:
                self._report(_complaints(self._end))

    def _undo(self, origin: int, target: int, *, sure: bool, boot: bool = False) -> bool:
        """Puts generation `origin` back; returns whether the daemon is content with it.

        `sure`: the daemon has loaded the live files. Raises when the files cannot be put back.
        """
        paths = {*generations.load(self.state, origin).files, *generations.load(self.state, target).files}
        before = self._loaded(sure=sure)
        complaints = self._restore(origin, self._prepare(origin, paths), paths, before=before, boot=boot)
        self._report([f"generation {origin} is in place again, but: {complaint}" for complaint in complaints])
        return not complaints

    def _restore(
        self, number: int, exchange: Sequence[Prepared], paths: Iterable[str], *, before: str, boot: bool = False
    ) -> list[str]:
        """Back to a generation that was in effect; to 0 means also: not running, unless it ran before us.

        The files are back when it returns; what it returns are the daemon's complaints.
        """
        originals = generations.originals(self.state)
        complaints: list[str] = []
        stop = number == 0 and not originals.active
        if stop:
            # Before the exchange: systemctl finds a unit of ours by its file.
            end = self.service.withhold if boot else self.service.deactivate
            complaints += _complaints(lambda: end(originals.units))
        self._exchange(exchange, paths)
        complaints += _complaints(lambda: self._settle(paths))
        if boot:
            complaints += [] if stop else _complaints(self.service.admit)
        elif stop:
            complaints += _complaints(lambda: self.service.release(originals.units))
        else:
            complaints += _complaints(lambda: self.service.activate(before))
        if number == 0:
            generations.drop_folders(self.root, originals)
        return complaints

    def _loaded(self, *, sure: bool) -> str:
        """What the daemon has loaded that only a restart changes; nothing where that is unknown: it gets a restart."""
        return self.service.fingerprint() if sure or not isinstance(self.service, Daemon) else ""

    def _activate(
        self, exchange: Sequence[Prepared], paths: Iterable[str], *, health: tuple[str, ...], sure: bool
    ) -> None:
        """Exchanges the live files, tells systemd and the daemon, and waits until it is healthy."""
        started = time.time()
        before = self._loaded(sure=sure)
        self._exchange(exchange, paths)
        self._settle(paths)
        self.service.activate(before)
        probes.wait(health, self.service, since=started)

    def _exchange(self, exchange: Sequence[Prepared], paths: Iterable[str]) -> None:
        for change in exchange:
            change.commit()
        # All of them: a run that died may have exchanged some already.
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

    def _report(self, complaints: Iterable[str]) -> None:
        for complaint in complaints:
            say(f"{self.service.name}: {complaint}")

    def _tree(self, number: int, paths: Iterable[str]) -> dict[str, Wanted]:
        return {path: generations.wanted(self.state, number, path) for path in sorted(paths)}


_SYSTEMD = (("/etc/sysusers.d/", ("systemd-sysusers",)), ("/etc/tmpfiles.d/", ("systemd-tmpfiles", "--create")))


def _complaints(action: Callable[[], None]) -> list[str]:
    try:
        action()
    except (MailhostError, OSError) as error:
        return [_words(error)]
    return []


def _words(error: MailhostError | OSError) -> str:
    return described(error) if isinstance(error, OSError) else str(error)
