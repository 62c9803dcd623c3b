"""The commands a newcomer types are there, listed, and mean what the documents say."""

import os
import re
import subprocess
from pathlib import Path

CLONE = Path(__file__).parent.parent.parent
MAKEFILE = (CLONE / "Makefile").read_text()


def _make(*arguments: str) -> str:
    # A make that runs this test must not hand its job server and flags down.
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=CLONE, env=environment, capture_output=True, check=True, text=True).stdout


def _listed() -> set[str]:
    return set(re.findall(r"^  make (\S+)", _make(), re.MULTILINE))


def test_help_lists_every_command_and_nothing_else() -> None:
    commands, parts = MAKEFILE.split("# Parts of the commands above")
    phony = re.findall(r"^\.PHONY: (.+)$", commands, re.MULTILINE)
    assert _listed() == {target for line in phony for target in line.split()}
    assert not _listed() & set(re.findall(r"^([a-z-]+):", parts, re.MULTILINE))


def test_every_command_has_a_recipe() -> None:
    assert [command for command in sorted(_listed()) if not _make("--dry-run", command)] == []


def test_every_make_command_in_the_documents_exists() -> None:
    documents = [*CLONE.glob("*.md"), *(CLONE / "docs").rglob("*.md")]
    named = {
        name
        for file in documents
        for name in re.findall(r"(?:`|^    |^\$ )make ([a-z][a-z-]*)", file.read_text(), re.M)
    }
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    script = CLONE / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"


def test_a_user_who_is_not_root_gets_the_same_commands() -> None:
    as_root, otherwise = re.split(r"^else$", MAKEFILE, flags=re.MULTILINE)
    commands = re.findall(r"^([a-z-]+):.* ## ", as_root.split("ifeq")[1], re.MULTILINE)
    listed = re.search(r"^\.PHONY: (.+)$", otherwise, re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split()) == set(commands)
