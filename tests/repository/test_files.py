"""What holds for every file of the repository."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Every file that is tracked or would be: untracked ones count, ignored ones do not."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=CLONE, capture_output=True, check=True, text=True).stdout
    return [path for name in names.split("\0") if name and (path := CLONE / name).is_file()]


def _lines(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Yields every line of every text file, with its place."""
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, start=1):
            yield f"{file.relative_to(CLONE)}:{number}", line


def test_every_file_with_tests_is_one_that_pytest_collects(files: list[Path]) -> None:
    holds_test = re.compile(r"^ *(async )?def test_", re.MULTILINE)
    tests = [file for file in files if file.suffix == ".py" and holds_test.search(file.read_text())]
    assert tests
    assert [str(file) for file in tests if not file.match("tests/**/test_*.py")] == []


def test_no_file_names_a_path_of_somebodys_machine(files: list[Path]) -> None:
    somebodys = re.compile(rf"{re.escape(str(CLONE))}\b|/home/\w+/|/Users/\w+/|/tmp/(?!mailhost)\w+\.\w+/")
    assert [place for place, line in _lines(files) if somebodys.search(line)] == []


def test_every_secret_of_a_stack_file_is_encrypted(files: list[Path]) -> None:
    found = re.compile(r"BEGIN [A-Z ]*PRIVATE KEY|\$argon2id\$|\$2y\$")
    stacks = [file for file in files if re.fullmatch(r"Pulumi\..+\.yaml", file.name)]
    assert stacks
    assert [place for place, line in _lines(stacks) if found.search(line)] == []


def test_quick_tests_leave_the_lab_alone() -> None:
    # Collected as the tests themselves are: a marker may come from a conftest.py.
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "--no-header", "-m", "not lab"]
    done = subprocess.run(
        [*command, "tests/e2e", "tests/parsers"], cwd=CLONE, capture_output=True, check=False, text=True
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
    assert "deselected" in done.stdout
