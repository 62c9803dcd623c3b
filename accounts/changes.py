"""What shall change: one mailbox as the command line says it, or a list as a CSV file says it."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from accounts import passwords
from accounts.errors import AccountsError
from model import mailboxes, syntax

_REQUIRED: Final = "address"
_COLUMNS: Final = (_REQUIRED, "password", "hash", "name", "quota", "enabled")
# A hash in a mailbox's place while its other fields are checked, before the real one is made.
_PLACEHOLDER: Final = "{BLF-CRYPT}$2y$05$" + "." * 53


@dataclass(frozen=True, kw_only=True)
class Change:
    """One mailbox, new or changed. What is None, or not among `fields`, stays as it is."""

    address: str
    hash: str | None = field(default=None, repr=False)
    """New password hash with its scheme."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """name, quota and enabled, as the settings take them."""


def field_values(*, name: str | None, quota: str | None, enabled: str | None) -> dict[str, Any]:
    """Return the fields that are given, as the settings take them; nothing is checked yet."""
    values: dict[str, Any] = {"name": name, "quota": quota, "enabled": enabled}
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if enabled is not None:
        values["enabled"] = words.get(enabled.strip().lower(), enabled)
    return {key: value for key, value in values.items() if value is not None}


def checked_address(text: str, served: Collection[str]) -> str:
    """Return an address in lower case.

    Raises:
        ValueError: it is none, or in no domain of the stack.
    """
    try:
        address = syntax.mail_address(text.strip())
    except ValueError as error:
        raise ValueError(f"{text.strip()!r} {error}") from None
    domain = address.rpartition("@")[2]
    if served and domain not in served:
        raise ValueError(f"{address} is in no domain of this stack, which serves {', '.join(sorted(served))}")
    return address


def check(change: Change) -> None:
    """Check hash and fields as the settings do.

    Raises:
        ValueError: every problem, one per line.
    """
    mailboxes.mailbox(change.address, {**change.fields, "password": change.hash or _PLACEHOLDER})


def read_csv(file: Path, existing: Collection[str], served: Collection[str]) -> list[Change]:
    """Read a list of mailboxes and hash its passwords.

    The first row names the columns: address, password or hash, name, quota, enabled; in any order, all but address may
    be left out. UTF-8; a comma between the columns, or a semicolon, as spreadsheets write where the comma is decimal.
    An empty cell says nothing: what the mailbox has stays.

    Args:
        file: the CSV file.
        existing: addresses that need no password here, because they have one.
        served: domains of the stack; empty when that is not known yet.

    Raises:
        AccountsError: every bad row, with its line number. Passwords are not in it.
    """
    rows = _rows(file)
    found: list[str] = []
    lines: dict[str, int] = {}
    changes: list[Change] = []
    clear: dict[str, str] = {}
    for line, row in rows:
        try:
            change, password = _read(row, existing, served)
        except ValueError as error:
            found += [f"line {line}: {text}" for text in str(error).split("\n")]
            continue
        if change.address in lines:
            found.append(f"line {line}: {change.address} is on line {lines[change.address]} already; keep one")
            continue
        lines[change.address] = line
        changes.append(change)
        if password:
            clear[change.address] = password
    if found:
        raise AccountsError([*found, f"{file}: {_count(len(found), 'problem')}; nothing was written"])
    if not changes:
        raise AccountsError([f"{file}: has no mailboxes below the row that names the columns"])
    hashes = dict(zip(clear, passwords.hashed(list(clear.values())), strict=True)) if clear else {}
    return [
        Change(address=change.address, hash=hashes.get(change.address, change.hash), fields=change.fields)
        for change in changes
    ]


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Return line number and cells by column of each row that is not empty."""
    try:
        # Spreadsheets put a byte order mark first.
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AccountsError([f"{file}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise AccountsError([f"{file}: is not UTF-8; save it as CSV UTF-8"]) from None
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True)
    try:
        read = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise AccountsError([f"{file}: line {reader.line_num}: is not CSV: {error}"]) from None
    header = [name.strip().lower() for name in read[0][1]] if read else []
    _check_header(file, header)
    rows = []
    for line, cells in read[1:]:
        if any(cell.strip() for cell in cells):
            # A row of another length must not shift a password into a name.
            padded = [*cells, *[""] * (len(header) - len(cells))]
            extra = {"": "x"} if any(cell.strip() for cell in cells[len(header) :]) else {}
            rows.append((line, {**dict(zip(header, padded, strict=False)), **extra}))
    return rows


def _check_header(file: Path, header: Sequence[str]) -> None:
    known = ", ".join(_COLUMNS)
    if _REQUIRED not in header:
        raise AccountsError([f"{file}: its first row must name the columns, address among them; known are {known}"])
    found = [f"{file}: column {name!r} is not known; known are {known}" for name in header if name not in _COLUMNS]
    found += [f"{file}: column {name} is there twice" for name in sorted({n for n in header if header.count(n) > 1})]
    if found:
        raise AccountsError(found)


def _read(row: Mapping[str, str], existing: Collection[str], served: Collection[str]) -> tuple[Change, str]:
    """Return the change a row asks for, and its password in the clear.

    Raises:
        ValueError: every problem of the row, one per line.
    """
    if "" in row:
        raise ValueError("has more cells than there are columns; quote a cell that holds the separator")
    address = checked_address(row["address"], served)
    password, hash_ = row.get("password", ""), row.get("hash", "").strip()
    found = []
    if password and hash_:
        found.append(f"{address} has both a password and a hash; give one")
    elif not password and not hash_ and address not in existing:
        found.append(f"{address} is new and has neither password nor hash")
    if password and (problem := passwords.weakness(password, address)):
        found.append(f"the password of {address} {problem}")
    given = {key: row.get(key, "").strip() or None for key in ("name", "quota", "enabled")}
    change = Change(address=address, hash=hash_ or None, fields=field_values(**given))
    try:
        check(change)
    except ValueError as error:
        found.append(str(error))
    if found:
        raise ValueError("\n".join(found))
    return change, password


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
