"""Generations: the applied states of a service, each complete on disk, so that any of them can be put back.

The current generation always has the highest number; a folder above it is the leftover of an attempt that died.
Generation 0 is what was there before us: for each path ever managed its original (file, link or nothing), the folders
we created, and whether the service was running.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailhostctl import durable
from mailhostctl.difference import Difference
from mailhostctl.manifest import EMPTY, File, Manifest, digest, owner_ids, parse
from mailhostctl.paths import Root, ServiceState, below
from mailhostctl.system import MailhostError

KEEP = 5
KEEP_DAYS = 30
"""How long a generation is kept after the next one: it holds withdrawn keys and former password hashes."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """A regular file as it shall be."""

    data: bytes
    mode: int
    owner: str


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link as it shall be."""

    target: str


Wanted = Content | Link | None
"""What shall be at a path; None means nothing."""


@dataclass(frozen=True, kw_only=True)
class Originals:
    """Index of generation 0; file contents lie beside it."""

    files: dict[str, dict[str, str] | None] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    active: bool = False
    units: tuple[str, ...] | None = None
    """Of the units that others use too, those that ran; None: version 0.1.0 did not note it."""


def current(state: ServiceState) -> int:
    """Number of the applied generation; 0 when the service is not applied."""
    text = durable.read(state.current)
    return int(text) if text else 0


def numbers(state: ServiceState) -> list[int]:
    """Numbers of all complete generation folders but 0, ascending."""
    if not state.generations.is_dir():
        return []
    return sorted(
        int(entry.name) for entry in state.generations.iterdir() if entry.name.isdigit() and entry.name != "0"
    )


def load(state: ServiceState, number: int) -> Manifest:
    """The manifest of a kept generation; of 0, the empty one."""
    if number == 0:
        return EMPTY
    text = durable.read(state.generations / str(number) / "manifest.json")
    if text is None:
        raise MailhostError(f"generation {number} is not kept on this host (see: mailhostctl generations)")
    return parse(text.decode())


def content(state: ServiceState, number: int, path: str, file: File) -> bytes:
    """One file of a generation, checked against its digest; raises `MailhostError` when the copy is damaged."""
    data = durable.read(below(state.generations / str(number) / "files", path))
    if data is None or digest(data) != file.sha256:
        raise MailhostError(f"generation {number}: its copy of {path} is damaged")
    return data


def contents(state: ServiceState, number: int, manifest: Manifest) -> dict[str, bytes]:
    """All files of a generation whose manifest is `manifest`, by path."""
    return {path: content(state, number, path, file) for path, file in manifest.files.items()}


def wanted(state: ServiceState, number: int, path: str) -> Wanted:
    """What generation `number` puts at `path`: its own file, else the original of generation 0."""
    file = load(state, number).files.get(path)
    if file is not None:
        return Content(data=content(state, number, path, file), mode=file.mode, owner=file.owner)
    original = originals(state).files.get(path)
    if original is None:
        return None
    if "link" in original:
        return Link(target=original["link"])
    entry = File(mode=int(original["mode"], 8), owner=original["owner"], sha256=original["sha256"])
    return Content(data=content(state, 0, path, entry), mode=entry.mode, owner=entry.owner)


def create(state: ServiceState, manifest: Manifest, contents: dict[str, bytes]) -> int:
    """Keeps a new generation, complete and durable before it gets its name; returns its number."""
    number = max([current(state), *numbers(state)]) + 1
    building = state.generations / f"{number}.new"
    durable.make_folder(state.generations)
    files = {f"/files{path}": data for path, data in contents.items()}
    durable.write_tree(building, {"/manifest.json": manifest.text.encode(), **files})
    building.replace(state.generations / str(number))
    durable.sync_folder(state.generations)
    return number


def discard(state: ServiceState, number: int) -> None:
    """Drops a generation. Its name goes first, so a half-removed one is never taken for a whole one."""
    folder = state.generations / str(number)
    doomed = state.generations / f"{number}.old"
    durable.remove_tree(doomed)
    if folder.is_dir():
        folder.replace(doomed)
        durable.remove_tree(doomed)
    durable.sync_folder(state.generations)


def tidy(state: ServiceState) -> None:
    """Drops leftovers of attempts that died, and generations beyond `KEEP` or `KEEP_DAYS`.

    Never 0 nor the current one. Not while a journal may still name the target of an attempt.
    """
    if not state.generations.is_dir():
        return
    for entry in list(state.generations.iterdir()):
        if entry.suffix in {".new", ".old"}:
            durable.remove_tree(entry)
    applied = current(state)
    kept = [number for number in numbers(state) if number <= applied][-KEEP:]
    for number in numbers(state):
        if number not in kept or _expired(state, number):
            discard(state, number)


def _expired(state: ServiceState, number: int) -> bool:
    """Whether the generation after this one is older than `KEEP_DAYS`."""
    later = [other for other in numbers(state) if number < other <= current(state)]
    if not later:
        return False
    return time.time() - (state.generations / str(later[0])).stat().st_mtime > KEEP_DAYS * 86400


def originals(state: ServiceState) -> Originals:
    """Index of generation 0."""
    text = durable.read(state.generations / "0" / "originals.json")
    if text is None:
        return Originals()
    raw: dict[str, Any] = json.loads(text)
    units = raw.get("units")
    return Originals(
        files=raw["files"],
        folders=tuple(raw["folders"]),
        active=raw["active"],
        units=None if units is None else tuple(units),
    )


def remember(root: Root, state: ServiceState, paths: Sequence[str], *, active: bool, units: Sequence[str]) -> None:
    """Adds what is at `paths` now, before they are managed for the first time, to generation 0.

    `active` says whether the service runs now, `units` which units run that others use too; both count only when
    generation 0 is new.
    """
    folder = state.generations / "0"
    known = originals(state)
    new = durable.read(folder / "originals.json") is None
    files = dict(known.files)
    folders = list(known.folders)
    for path in paths:
        files[path] = _original(root, folder, path)
        missing = [str(parent) for parent in Path(path).parents if not root.live(str(parent)).exists()]
        folders += [parent for parent in missing if parent not in folders]
    if not new and files == known.files and tuple(folders) == known.folders:
        return
    noted = {"active": active, "units": units} if new else {"active": known.active, "units": known.units}
    index = {"files": files, "folders": sorted(folders), **noted}
    durable.make_folder(folder)
    durable.write(folder / "originals.json", json.dumps(index, indent=2, sort_keys=True).encode())


def _original(root: Root, folder: Path, path: str) -> dict[str, str] | None:
    live = root.live(path)
    try:
        found = live.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(found.st_mode):
        return {"link": str(live.readlink())}
    data = durable.read(live)
    if data is None:
        return None
    place = below(folder / "files", path)
    durable.make_folder(place.parent)
    durable.write(place, data)
    return {"mode": f"{stat.S_IMODE(found.st_mode):04o}", "owner": _owner(found), "sha256": digest(data)}


def _owner(found: os.stat_result) -> str:
    try:
        user = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        user = str(found.st_uid)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return f"{user}:{group}"


def differences(root: Root, path: str, want: Wanted) -> Iterator[Difference]:
    """Compares what is at `path` now with `want`: kind, content, mode and (on the real system) owner."""
    live = root.live(path)
    try:
        found = live.lstat()
    except (FileNotFoundError, NotADirectoryError):
        found = None
    if isinstance(want, Content) and found is not None and stat.S_ISREG(found.st_mode):
        yield from _regular(root, path, want, found)
    elif _kind(want) != (now := _kind_of(live, found)):
        yield Difference(what=path, wanted=_kind(want), found=now)


def _regular(root: Root, path: str, want: Content, found: os.stat_result) -> Iterator[Difference]:
    if durable.read(root.live(path)) != want.data:
        yield Difference(what=path, wanted="content as applied", found="changed")
    mode = stat.S_IMODE(found.st_mode)
    if mode != want.mode:
        yield Difference(what=path, wanted=f"mode {want.mode:04o}", found=f"mode {mode:04o}")
    if root.gives_ownership and (found.st_uid, found.st_gid) != owner_ids(want.owner):
        yield Difference(what=path, wanted=f"owner {want.owner}", found=f"owner {_owner(found)}")


def _kind(want: Wanted) -> str:
    if isinstance(want, Link):
        return f"a link to {want.target}"
    return "nothing" if want is None else "a file"


def _kind_of(live: Path, found: os.stat_result | None) -> str:
    if found is None:
        return "nothing"
    if stat.S_ISLNK(found.st_mode):
        return f"a link to {live.readlink()}"
    return "a file" if stat.S_ISREG(found.st_mode) else "a folder" if stat.S_ISDIR(found.st_mode) else "a special file"


def is_live(root: Root, path: str, want: Wanted) -> bool:
    """Whether exactly `want` is at `path` now."""
    return not any(differences(root, path, want))


def prepare(root: Root, tree: Mapping[str, Wanted]) -> list[durable.Prepared]:
    """Writes all that is to be at the paths of `tree` beside the live files; what is already so is left out.

    When it fails, nothing has changed and nothing is left of it. Once committed, the names are durable after
    `durable.sync_folder` of their folders.
    """
    for live in map(root.live, tree):
        if live.parent.is_dir():  # whatever is there now, a run that died may have left its temporary
            durable.forget_temporary(live)
    prepared: list[durable.Prepared] = []
    made: list[Path] = []
    try:
        for path, want in tree.items():
            if not is_live(root, path, want):
                made += durable.make_folder(root.live(path).parent, 0o755) if want else []
                prepared.append(_prepare(root, path, want))
    except BaseException:
        for change in prepared:
            change.discard()
        durable.unmake(made)
        raise
    return prepared


def _prepare(root: Root, path: str, want: Wanted) -> durable.Prepared:
    live = root.live(path)
    if want is None:
        return durable.Prepared(path=live, temporary=None)
    if isinstance(want, Link):
        return durable.prepare_link(live, want.target)
    ids = owner_ids(want.owner) if root.gives_ownership else None
    return durable.prepare(live, want.data, mode=want.mode, owner=ids)


def drop_folders(root: Root, known: Originals) -> None:
    """Removes the folders we created, deepest first, where they are empty."""
    for folder in sorted(known.folders, reverse=True):
        with contextlib.suppress(OSError):
            root.live(folder).rmdir()
