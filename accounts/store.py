"""Where mailboxes are kept: in the stack's configuration, and a whole list of them in the stack's mailbox file.

What is secret reaches the pulumi command by standard input only. Each file is replaced as a whole or not at all.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from accounts.changes import Change
from accounts.errors import AccountsError
from model import mailbox_file, settings
from model.problems import SettingsError

# Linux takes no environment variable beyond 128 KiB (execve(2)); the rest is for the settings that come later.
_MOST_CONFIGURATION: Final = 96 * 1024
_PULUMI_SECONDS: Final = 120
_STACK: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True, kw_only=True)
class Store:
    """The mailboxes of one stack as they are now."""

    stack: str
    folder: Path
    raw: Mapping[str, str] = field(repr=False)
    """The stack's configuration as the program gets it."""
    listed: str | None = field(repr=False)
    """The mailbox file, if there is one."""
    own: Mapping[str, Any] = field(repr=False)
    """Mailboxes in the configuration, by address: hash or object."""
    entries: Mapping[str, Mapping[str, Any]] = field(repr=False)
    """Mailboxes in the file, by address; passwords are encrypted."""

    @property
    def existing(self) -> frozenset[str]:
        """Addresses that have a mailbox."""
        return frozenset(self.own) | frozenset(self.entries)

    @property
    def served(self) -> frozenset[str]:
        """Domains of the stack, as far as they are set."""
        domains = json.loads(self.raw.get("domains", "{}"))
        return frozenset(name.lower() for name in (self.raw.get("domain"), *domains) if name)

    def apply(self, changes: Sequence[Change], *, remove: Sequence[str] = (), as_list: bool) -> "Written":
        """Write all changes.

        They go to the mailbox file if there is one, if it is a list, or if the configuration would become too large.
        Whatever the configuration holds moves there with them: a stack keeps its mailboxes in one place.

        Raises:
            AccountsError: the settings would be refused, or pulumi refuses; nothing was written.
        """
        own = _changed(self.own, changes, remove)
        has_list = self.listed is not None or "mailboxesKey" in self.raw
        if as_list or has_list or _too_large({**self.raw, "mailboxes": json.dumps(own)}):
            return self._write_list(changes, remove)
        open_ends = self._refuse({**self.raw, "mailboxes": json.dumps(own)}, None)
        with self._edited() as edit:
            for change in changes:
                self._write(edit, change)
            for address in remove:
                edit("rm", "--path", _path(address))
        return Written(file=f"Pulumi.{self.stack}.yaml", open_ends=open_ends)

    def _write(self, edit: "_Edit", change: Change) -> None:
        """Set one mailbox in the configuration, an object only if it must be."""
        before, path = self.own.get(change.address), _path(change.address)
        bare = before is None or not isinstance(before, Mapping)
        hash_ = change.hash or (before if bare else None)
        if bare and not change.fields:
            edit("set", "--secret", "--path", path, stdin=str(hash_))
            return
        if bare and before is not None:
            edit("rm", "--path", path)
        if hash_:
            edit("set", "--secret", "--path", f"{path}.password", stdin=str(hash_))
        for key, value in change.fields.items():
            kind = "bool" if isinstance(value, bool) else "string"
            edit("set", "--type", kind, "--path", f"{path}.{key}", stdin=json.dumps(value) if kind == "bool" else value)

    def _write_list(self, changes: Sequence[Change], remove: Sequence[str]) -> "Written":
        key = self.raw.get("mailboxesKey", "")
        if key and self.listed is None:
            raise AccountsError(
                [
                    f"{self._file.name} is missing, though mailboxesKey is set; bring it back from the repository "
                    "(to start anew without it: pulumi config rm mailboxesKey)"
                ]
            )
        if self.listed is not None and not key:
            raise AccountsError([f"mailboxesKey is not set, so {self._file.name} cannot be read; bring it back"])
        new = not key
        key = key or mailbox_file.new_key()
        text = self._list_with(changes, remove, mailbox_file.Seal(key))
        raw = {name: value for name, value in self.raw.items() if name != "mailboxes"} | {"mailboxesKey": key}
        open_ends = self._refuse(raw, text)
        # In this order a run that dies is mended by the next one: a key without a file, then mailboxes in both.
        if new:
            with self._edited() as edit:
                edit("set", "--secret", "mailboxesKey", stdin=key)
        _replace(self._file, text)
        if self.own:
            with self._edited() as edit:
                edit("rm", "mailboxes")
        return Written(file=self._file.name, open_ends=open_ends)

    def _list_with(self, changes: Sequence[Change], remove: Sequence[str], seal: mailbox_file.Seal) -> str:
        """Return the new mailbox file. Unchanged entries stay as they are, so that a difference shows the others."""
        entries: dict[str, Mapping[str, Any]] = dict(self.entries)
        for address, value in self.own.items():
            box = dict(value) if isinstance(value, Mapping) else {"password": value}
            entries[address] = {**box, "password": seal.close(address, str(box["password"]))}
        for change in changes:
            sealed = {"password": seal.close(change.address, change.hash)} if change.hash else {}
            entries[change.address] = {**entries.get(change.address, {}), **change.fields, **sealed}
        return mailbox_file.text({address: entry for address, entry in entries.items() if address not in remove})

    def _refuse(self, raw: Mapping[str, str], listed: str | None) -> tuple[str, ...]:
        """Return what else the changes ask of the settings, such as a postmaster.

        Raises:
            AccountsError: the mailboxes themselves would be refused.
        """
        before = _problems(self.raw, self.listed)
        new = tuple(problem for problem in _problems(raw, listed) if problem not in before)
        bad = [problem for problem in new if problem.startswith("mailbox")]
        if bad:
            raise AccountsError([*bad, "nothing was written"])
        return new

    @property
    def _file(self) -> Path:
        return mailbox_file.path(self.stack, self.folder)

    @contextmanager
    def _edited(self) -> "Iterator[_Edit]":
        """Edit a copy of the stack's file with the pulumi command; it takes the file's place when all went well."""
        file = self.folder / f"Pulumi.{self.stack}.yaml"
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=f".{file.name}.", suffix=".yaml")
        os.close(descriptor)
        copy = Path(name)
        try:
            if file.exists():
                shutil.copy(file, copy)
            yield _Edit(folder=self.folder, stack=self.stack, file=copy)
            copy.replace(file)
        finally:
            copy.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was done."""

    file: str
    """Name of the file that holds the mailboxes now."""
    open_ends: tuple[str, ...]
    """What the settings ask for since then."""


@dataclass(frozen=True, kw_only=True)
class _Edit:
    folder: Path
    stack: str
    file: Path

    def __call__(self, *words: str, stdin: str = "") -> None:
        pulumi(self.folder, self.stack, "config", *words, "--config-file", str(self.file), stdin=stdin)


def load(folder: Path, stack: str) -> Store:
    """Read the mailboxes of a stack.

    Raises:
        AccountsError: no such stack, or its secrets cannot be decrypted.
    """
    if not _STACK.fullmatch(stack):
        raise AccountsError([f"stack {stack!r} is no name of a stack; name it without its organisation"])
    document = json.loads(pulumi(folder, stack, "config", "--json", "--show-secrets"))
    raw = {
        key.partition(":")[2]: str(item["value"])
        for key, item in document.items()
        if key.startswith("mailhost:") and "value" in item
    }
    listed = mailbox_file.read(stack, folder)
    try:
        own = json.loads(raw.get("mailboxes", "{}"))
        entries = mailbox_file.entries(listed) if listed is not None else {}
    except (SettingsError, ValueError) as error:
        problems = error.problems if isinstance(error, SettingsError) else ["mailboxes: is not an object"]
        raise AccountsError(problems) from None
    return Store(stack=stack, folder=folder, raw=raw, listed=listed, own=own, entries=entries)


def pulumi(folder: Path, stack: str, *words: str, stdin: str = "") -> str:
    """Run the pulumi command in the project's folder and return what it prints.

    Raises:
        AccountsError: it failed, in its own words; it is not there.
    """
    command = ["pulumi", *words, "--stack", stack, "--non-interactive", "--color", "never"]
    try:
        done = subprocess.run(
            command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=_PULUMI_SECONDS, check=False
        )
    except FileNotFoundError:
        raise AccountsError(["the pulumi command is missing; run: make tools"]) from None
    except subprocess.TimeoutExpired:
        raise AccountsError([f"pulumi {words[0]} {words[1]}: no answer within {_PULUMI_SECONDS} s"]) from None
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise AccountsError([f"pulumi {words[0]}: {said.removeprefix('error: ')}"])
    return done.stdout


def _changed(own: Mapping[str, Any], changes: Sequence[Change], remove: Sequence[str]) -> dict[str, Any]:
    """Return the configuration's mailboxes as they will be."""
    boxes = dict(own)
    for change in changes:
        before = boxes.get(change.address)
        box = dict(before) if isinstance(before, Mapping) else {"password": before}
        box |= {**change.fields, **({"password": change.hash} if change.hash else {})}
        boxes[change.address] = box
    return {address: box for address, box in boxes.items() if address not in remove}


def _too_large(raw: Mapping[str, str]) -> bool:
    return len(json.dumps({f"mailhost:{key}": value for key, value in raw.items()})) > _MOST_CONFIGURATION


def _problems(raw: Mapping[str, str], listed: str | None) -> tuple[str, ...]:
    try:
        settings.load(raw, listed=listed)
    except SettingsError as error:
        return error.problems
    return ()


def _path(address: str) -> str:
    return f'mailboxes["{address}"]'


def _replace(file: Path, text: str) -> None:
    """Replace a file at once, durably."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)
