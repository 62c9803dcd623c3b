"""`make mailbox`: what it asks, refuses and writes, and that a secret travels by standard input only."""

import getpass
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from accounts import command_line, passwords, store
from accounts.errors import AccountsError
from lab import paths
from model import mailbox_file
from model.settings import load
from tests.unit.samples import ARGON2ID, BCRYPT, raw

ALICE, BOB = "alice@example.com", "bob@example.com"
GOOD = "correct horse battery staple"
BETTER = "another horse, another staple"
Capsys = pytest.CaptureFixture[str]


class Pulumi:
    """The pulumi command as far as it is used: configuration in a JSON document, as `pulumi config --json` shows it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "Pulumi.dev.yaml"
        self.calls: list[tuple[str, ...]] = []
        self.fails = ""
        self.file.write_text(json.dumps({key: value for key, value in raw().items() if key != "mailboxes"}))

    def set(self, **values: object) -> None:
        self.file.write_text(json.dumps({**json.loads(self.file.read_text()), **values}))

    @property
    def values(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text()))

    def raw(self) -> dict[str, str]:
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in self.values.items()}

    def __call__(self, _folder: Path, stack: str, *words: str, stdin: str = "") -> str:
        assert stack == "dev"
        self.calls.append(words)
        if self.fails and self.fails in words:
            raise AccountsError([f"pulumi {self.fails}: out of order"])
        if words == ("config", "--json", "--show-secrets"):
            return json.dumps({f"mailhost:{key}": {"value": value} for key, value in self.raw().items()})
        file = Path(words[words.index("--config-file") + 1])
        document = json.loads(file.read_text())
        key = words[words.index("--config-file") - 1]
        if "--path" in words:
            address, _, name = key.removeprefix('mailboxes["').partition('"]')
            holder = document.setdefault("mailboxes", {})
            if name:
                holder, address = holder.setdefault(address, {}), name[1:]
                assert isinstance(holder, dict), "pulumi: expected a map"
        else:
            holder, address = document, key
        if words[1] == "rm":
            del holder[address]
        else:
            holder[address] = stdin == "true" if "bool" in words else stdin
        file.write_text(json.dumps(document))
        return ""


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pulumi]:
    """Stack dev of example.com, without a mailbox yet."""
    fake = Pulumi(tmp_path)
    monkeypatch.setattr(store, "pulumi", fake)
    monkeypatch.setattr(command_line, "FOLDER", tmp_path)
    yield fake
    secrets = [text for words in fake.calls for text in words if "$" in text or "horse" in text]
    assert secrets == []
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> "Typed":
    return Typed(monkeypatch)


class Typed:
    """What comes on standard input, from a pipe or a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def piped(self, text: str) -> None:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    def on_terminal(self, *answers: str) -> None:
        waiting = iter(answers)
        terminal = io.StringIO()
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        self._monkeypatch.setattr(sys, "stdin", terminal)
        self._monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(waiting))


def run(*options: str) -> int:
    return command_line.main(["--stack", "dev", *options])


def verified(hashed: str, password: str) -> bool:
    return PasswordHasher().verify(hashed.removeprefix("{ARGON2ID}"), password)


def people(folder: Path, *rows: str) -> str:
    file = folder / "people.csv"
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return str(file)


def test_a_new_mailbox_is_a_hash_in_the_configuration(pulumi: Pulumi, typed: Typed, capsys: Capsys) -> None:
    typed.on_terminal(GOOD, GOOD)
    assert run("--address", "Alice@Example.com") == 0
    hashed = pulumi.values["mailboxes"][ALICE]
    assert hashed.startswith("{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$")
    assert verified(hashed, GOOD)
    assert load(pulumi.raw()).mailboxes.keys() == {ALICE}
    said = capsys.readouterr()
    assert "alice@example.com: new mailbox, in Pulumi.dev.yaml" in said.err
    assert GOOD not in said.err + said.out
    assert ["--secret" in words for words in pulumi.calls if "set" in words] == [True]


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ((GOOD, BETTER), "the two passwords differ"),
        (("",), "is empty"),
        (("   ",), "is empty"),
        (("x9!kd)q3",), "is too short; give at least 12 characters"),
        (("ababababababab",), "repeats itself"),
        (("long" * 100,), "is too long"),
        (("Alice-in-wonderland",), "contains the name of the mailbox"),
        (("Password-2026-x",), "contains a word that is guessed first"),
        (("x-1234567-qwert",), "has keys or digits in a row"),
        (("tab\tinside a password",), "has a control character"),
    ],
)
def test_a_weak_password_is_refused_and_nothing_written(
    pulumi: Pulumi, typed: Typed, capsys: Capsys, answers: Sequence[str], problem: str
) -> None:
    before = pulumi.values
    typed.on_terminal(*answers)
    assert run("--address", ALICE) == 1
    said = capsys.readouterr().err
    assert problem in said
    assert not answers[0].strip() or answers[0] not in said
    assert pulumi.values == before


def test_a_password_may_come_by_a_pipe(pulumi: Pulumi, typed: Typed) -> None:
    typed.piped(f"{GOOD}\r\n")
    assert run("--address", ALICE) == 0
    assert verified(pulumi.values["mailboxes"][ALICE], GOOD)


def test_a_new_password_keeps_the_other_fields(pulumi: Pulumi, typed: Typed) -> None:
    pulumi.set(mailboxes={ALICE: {"password": ARGON2ID, "name": "Alice", "forward": [BOB]}, BOB: BCRYPT})
    typed.piped(GOOD)
    assert run("--address", ALICE) == 0
    box = pulumi.values["mailboxes"][ALICE]
    assert verified(box.pop("password"), GOOD)
    assert box == {"name": "Alice", "forward": [BOB]}
    assert pulumi.values["mailboxes"][BOB] == BCRYPT


def test_other_fields_keep_the_password_and_ask_for_none(pulumi: Pulumi, typed: Typed) -> None:
    pulumi.set(mailboxes={ALICE: ARGON2ID})
    typed.on_terminal()
    assert run("--address", ALICE, "--name", 'O\'Hara, "A" 5', "--quota", "512M", "--enabled", "no") == 0
    expected = {"password": ARGON2ID, "name": 'O\'Hara, "A" 5', "quota": "512M", "enabled": False}
    assert pulumi.values["mailboxes"][ALICE] == expected
    assert run("--address", ALICE, "--enabled", "yes") == 0
    assert pulumi.values["mailboxes"][ALICE] == {**expected, "enabled": True}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--address", "alice"), "'alice' is not a mail address"),
        (("--address", "älice@example.com"), "'älice@example.com' has letters outside ASCII"),
        (("--address", "alice@example.net"), "alice@example.net is in no domain of this stack, which serves example."),
        (("--address", ALICE, "--quota", "much"), "alice@example.com: quota: 'much' is not"),
        (("--address", ALICE, "--enabled", "perhaps"), "alice@example.com: enabled: 'perhaps' is neither true nor"),
        (("--address", ALICE, "--name", "A" * 65), "is not a display name; write at most 64 characters"),
        (("--address", ALICE, "--name", "A\nB"), "is not a display name"),
        (("--address", BOB, "--remove"), "bob@example.com has no mailbox on stack dev"),
        (("--address", ALICE, "--remove"), "mailboxes: is empty"),
        (("--csv", "/no/such.csv"), "/no/such.csv: No such file or directory"),
    ],
)
def test_refused(pulumi: Pulumi, typed: Typed, capsys: Capsys, options: Sequence[str], problem: str) -> None:
    pulumi.set(mailboxes={ALICE: ARGON2ID})
    before = pulumi.values
    typed.piped(GOOD)
    assert run(*options) == 1
    assert problem in capsys.readouterr().err
    assert pulumi.values == before


@pytest.mark.parametrize(
    "options", [(), ("--address", ALICE, "--csv", "x"), ("--csv", "x", "--quota", "1G"), ("--csv", "x", "--remove")]
)
def test_wrong_usage_is_said_before_anything_is_read(pulumi: Pulumi, options: Sequence[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*options)
    assert caught.value.code == 2
    assert pulumi.calls == []


def test_what_the_settings_ask_for_next_is_told(pulumi: Pulumi, typed: Typed, capsys: Capsys) -> None:
    pulumi.set(mailboxes={ALICE: ARGON2ID})
    typed.piped(GOOD)
    assert run("--address", BOB) == 0
    assert "still to do: postmaster: is missing, and there are several mailboxes" in capsys.readouterr().err


@pytest.mark.parametrize("fails", ["--secret", "rm"])
def test_a_pulumi_that_fails_halfway_leaves_the_file_as_it_was(
    pulumi: Pulumi, typed: Typed, capsys: Capsys, fails: str
) -> None:
    pulumi.set(mailboxes={ALICE: ARGON2ID})
    before = pulumi.values
    pulumi.fails = fails
    typed.piped(GOOD)
    assert run("--address", ALICE, *(("--name", "A") if fails == "rm" else ())) == 1
    assert "out of order" in capsys.readouterr().err
    assert pulumi.values == before


def test_a_list_goes_into_the_mailbox_file_with_all_that_was_there(
    pulumi: Pulumi, tmp_path: Path, capsys: Capsys
) -> None:
    pulumi.set(mailboxes={ALICE: {"password": ARGON2ID, "name": "Alice"}}, postmaster=ALICE)
    file = people(
        tmp_path,
        "\ufeffAddress;Hash;Password;Name;Quota;Enabled",
        f'{BOB};{BCRYPT};;"B; ""o"" b";1G;',
        f"carol@example.com;;{GOOD};;;no",
        ";;;;;",
        f"{ALICE};;;;2G;",
    )
    assert run("--csv", file) == 0
    assert "mailboxes" not in pulumi.values
    text = (tmp_path / "mailboxes.dev.json").read_text()
    made = load(pulumi.raw(), listed=text).mailboxes
    assert list(made) == [ALICE, BOB, "carol@example.com"]
    assert (made[BOB].name, made[BOB].quota, made[BOB].password.get_secret_value()) == ('B; "o" b', 1 << 30, BCRYPT)
    assert verified(made["carol@example.com"].password.get_secret_value(), GOOD)
    assert not made["carol@example.com"].enabled
    assert (made[ALICE].name, made[ALICE].quota, made[ALICE].password.get_secret_value()) == (
        "Alice",
        2 << 30,
        ARGON2ID,
    )
    said = capsys.readouterr().err
    assert "2 new mailboxes and 1 changed ones, in mailboxes.dev.json" in said
    assert "hashing passwords" in said


def test_afterwards_a_single_mailbox_changes_its_line_of_the_file_only(
    pulumi: Pulumi, typed: Typed, tmp_path: Path
) -> None:
    pulumi.set(postmaster=ALICE)
    assert run("--csv", people(tmp_path, "address,hash", f'{ALICE},"{ARGON2ID}"', f"{BOB},{BCRYPT}")) == 0
    file = tmp_path / "mailboxes.dev.json"
    before = file.read_text().splitlines()
    typed.piped(GOOD)
    assert run("--address", BOB) == 0
    after = file.read_text().splitlines()
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True]
    assert run("--address", BOB, "--remove") == 0
    assert load(pulumi.raw(), listed=file.read_text()).mailboxes.keys() == {ALICE}


def test_every_bad_row_is_told_and_nothing_written(pulumi: Pulumi, tmp_path: Path, capsys: Capsys) -> None:
    before = pulumi.values
    rows = {
        f"{ALICE},,,,": "alice@example.com is new and has neither password nor hash",
        f"{BOB},{GOOD},{BCRYPT},,": "bob@example.com has both a password and a hash; give one",
        "c@example.com,hello,,,": "the password of c@example.com is too short",
        "d@example.com,,{MD5}abc,,": "the password of d@example.com is not an ARGON2ID or BLF-CRYPT hash",
        f"e@example.com,,{BCRYPT},,9 apples": "e@example.com: quota: '9 apples' is not",
        f"f@example.net,,{BCRYPT},,": "f@example.net is in no domain of this stack",
        f",,{BCRYPT},,": "'' is not a mail address",
        f"ü@example.com,,{BCRYPT},,": "'ü@example.com' has letters outside ASCII",
        f"g@example.com,,{BCRYPT},,1G,more": "has more cells than there are columns",
        f"ok@example.com,,{BCRYPT},,": "",
        f"OK@example.com,,{BCRYPT},,": "ok@example.com is on line 11 already",
    }
    assert run("--csv", people(tmp_path, "address,password,hash,name,quota", *rows)) == 1
    said = [line.removeprefix("mailbox: ") for line in capsys.readouterr().err.splitlines()]
    expected = [(number, problem) for number, problem in enumerate(rows.values(), start=2) if problem]
    for line, (number, problem) in zip(said[:-1], expected, strict=True):
        assert line.startswith(f"line {number}: ")
        assert problem in line
    assert said[-1].endswith("10 problems; nothing was written")
    assert GOOD not in "".join(said)
    assert "$" not in "".join(said)
    assert pulumi.values == before
    assert not (tmp_path / "mailboxes.dev.json").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "its first row must name the columns"),
        (b"alice@example.com,secret-of-alice\n", "its first row must name the columns, address among them"),
        (b"address,passwort\n", "column 'passwort' is not known; known are address, password"),
        (b"address,name,name\n", "column name is there twice"),
        (b"address,name\n", "has no mailboxes below the row"),
        ("address,name\nä".encode("latin-1"), "is not UTF-8"),
        (b'address,name\n"a"b,c\n', "line 2: is not CSV"),
    ],
)
def test_a_file_that_is_no_list_is_refused(
    pulumi: Pulumi, tmp_path: Path, capsys: Capsys, content: bytes, problem: str
) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(content)
    assert run("--csv", str(file)) == 1
    said = capsys.readouterr().err
    assert problem in said
    assert "secret-of-alice" not in said
    assert "mailboxes" not in pulumi.values


def test_a_configuration_that_would_be_too_large_moves_into_the_file(
    pulumi: Pulumi, typed: Typed, tmp_path: Path
) -> None:
    many = {f"user{number}@example.com": ARGON2ID for number in range(900)}
    pulumi.set(mailboxes=many, postmaster="user0@example.com")
    typed.piped(GOOD)
    assert run("--address", ALICE) == 0
    assert "mailboxes" not in pulumi.values
    listed = (tmp_path / "mailboxes.dev.json").read_text()
    assert len(load(pulumi.raw(), listed=listed).mailboxes) == 901


def test_a_run_that_dies_between_the_files_is_mended_by_the_next(pulumi: Pulumi, tmp_path: Path) -> None:
    pulumi.set(mailboxes={ALICE: ARGON2ID}, postmaster=ALICE)
    pulumi.fails = "rm"
    file = people(tmp_path, "address,hash", f"{BOB},{BCRYPT}")
    assert run("--csv", file) == 1
    pulumi.fails = ""
    assert (tmp_path / "mailboxes.dev.json").exists()
    assert run("--csv", file) == 0
    listed = (tmp_path / "mailboxes.dev.json").read_text()
    assert load(pulumi.raw(), listed=listed).mailboxes.keys() == {ALICE, BOB}


@pytest.mark.parametrize("lost", ["file", "key"])
def test_a_lost_file_or_key_is_never_made_anew(
    pulumi: Pulumi, typed: Typed, tmp_path: Path, capsys: Capsys, lost: str
) -> None:
    assert run("--csv", people(tmp_path, "address,hash", f'{ALICE},"{ARGON2ID}"')) == 0
    if lost == "key":
        values = pulumi.values
        del values["mailboxesKey"]
        pulumi.file.write_text(json.dumps(values))
        problem = "mailboxesKey is not set, so mailboxes.dev.json cannot be read"
    else:
        (tmp_path / "mailboxes.dev.json").unlink()
        problem = "mailboxes.dev.json is missing, though mailboxesKey is set"
    typed.piped(GOOD)
    assert run("--address", ALICE) == 1
    assert problem in capsys.readouterr().err


def test_ten_thousand_mailboxes_are_read_and_written_in_seconds(pulumi: Pulumi, tmp_path: Path) -> None:
    pulumi.set(postmaster="u0@example.com")
    rows = (f"u{number}@example.com,{BCRYPT}" for number in range(10_000))
    assert run("--csv", people(tmp_path, "address,hash", *rows)) == 0
    assert len([words for words in pulumi.calls if "config" in words]) == 2  # read all, set the key
    assert len(mailbox_file.entries((tmp_path / "mailboxes.dev.json").read_text())) == 10_000


def test_a_password_is_hashed_as_dovecot_verifies_it() -> None:
    one, two = passwords.hashed([GOOD, BETTER])
    assert verified(one, GOOD)
    assert verified(two, BETTER)


# ---- The real pulumi command

PULUMI = shutil.which("pulumi", path=f"{paths.toolchain()}:{os.environ['PATH']}")


@pytest.mark.engine
@pytest.mark.skipif(PULUMI is None, reason="the pulumi command is missing; `make tools` gets it")
def test_pulumi_stores_it_encrypted_and_never_sees_it_on_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Typed, capsys: Capsys
) -> None:
    log = tmp_path / "commands"
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "pulumi"
    wrapper.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {PULUMI} "$@"\n')
    wrapper.chmod(0o755)
    (tmp_path / "state").mkdir()
    for name, value in {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "Pulumi.yaml").write_text("name: mailhost\nruntime: python\n")
    monkeypatch.setattr(command_line, "FOLDER", tmp_path)
    subprocess.run(["pulumi", "stack", "init", "dev", "--non-interactive"], cwd=tmp_path, check=True)
    settings = ("=".join(item) for item in {**raw(mailboxes=None), "postmaster": BOB}.items())
    plain = [word for setting in settings for word in ("--plaintext", setting)]
    subprocess.run(["pulumi", "config", "set-all", *plain], cwd=tmp_path, check=True)

    def settled() -> Any:
        known = store.load(tmp_path, "dev")
        return load(known.raw, listed=known.listed).mailboxes[ALICE]

    typed.piped(GOOD)
    assert run("--address", BOB) == 0
    typed.piped(GOOD)
    assert run("--address", ALICE) == 0
    assert verified(settled().password.get_secret_value(), GOOD)
    assert run("--address", ALICE, "--quota", "1073741824", "--name", "007", "--enabled", "false") == 0
    assert (settled().quota, settled().name, settled().enabled) == (1 << 30, "007", False)
    typed.piped(BETTER)
    assert run("--address", ALICE) == 0
    assert verified(settled().password.get_secret_value(), BETTER)
    assert settled().name == "007"
    file = tmp_path / "Pulumi.dev.yaml"
    assert "argon2" not in file.read_text().lower()
    assert run("--csv", people(tmp_path, "address,name", f"{ALICE},Alice")) == 0
    assert verified(settled().password.get_secret_value(), BETTER)
    assert (settled().quota, settled().name, settled().enabled) == (1 << 30, "Alice", False)
    assert "alice" not in file.read_text()
    commands = log.read_text()
    assert "mailboxes" in commands
    key = store.load(tmp_path, "dev").raw["mailboxesKey"]
    for secret in (GOOD, BETTER, "argon2", key):
        assert secret not in commands
    capsys.readouterr()
    assert command_line.main(["--stack", "nobody", "--address", ALICE]) == 1
    assert "no stack named 'nobody' found" in capsys.readouterr().err
