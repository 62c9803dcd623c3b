"""The direction of imports, and that the contracts in pyproject.toml would notice a breach."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parent.parent.parent
PACKAGES = (
    "accounts",
    "components",
    "doctor",
    "drift",
    "host/mailhostctl",
    "lab",
    "model",
    "reports",
    "rotation",
    "toolchain",
)


def _imported(file: Path) -> set[str]:
    """Returns the top-level names a module imports, from anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where code comes from"
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def _foreign(folder: str, package: str) -> list[str]:
    """Return "FILE: MODULE" for each import below a folder from outside the standard library and the package."""
    files = sorted((CLONE / folder).rglob("*.py"))
    assert files
    allowed = sys.stdlib_module_names | {package}
    return [f"{file.relative_to(CLONE)}: {name}" for file in files for name in _imported(file) - allowed]


def _lint(clone: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": "host"}
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, check=False, text=True)


def test_the_program_wires_and_nothing_else() -> None:
    python = {"asyncio", "atexit", "datetime", "gc", "os", "signal"}
    assert _imported(CLONE / "__main__.py") <= {*python, "components", "model", "pulumi"}


def test_what_runs_on_the_mail_host_needs_the_standard_library_only() -> None:
    assert _foreign("host/mailhostctl", "mailhostctl") == []


def test_the_toolchain_needs_the_standard_library_only() -> None:
    assert _foreign("toolchain", "toolchain") == []


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("model/settings.py", "import components", "components build on model"),
        ("model/settings.py", "import pulumi", "model knows no engine"),
        ("components/dns.py", "import lab", "nothing but the lab"),
        ("accounts/store.py", "import components", "the commands for accounts"),
        ("components/dns.py", "import accounts", "the program is complete"),
        ("drift/zone.py", "import components", "the drift command"),
        ("toolchain/venv.py", "import lab", "nothing but the lab"),
        ("host/mailhostctl/paths.py", "import lab", "what runs on the mail host"),
        ("components/dns.py", "import pulumi_cloudflare", "importing the providers' packages costs"),
        ("components/dns.py", "import pulumi_command", "importing the providers' packages costs"),
        ("components/dns.py", "import pulumi_tls", "importing the providers' packages costs"),
        ("host/mailhostctl/paths.py", "import model", "what runs on the mail host"),
    ],
)
def test_a_breach_is_noticed(tmp_path: Path, module: str, line: str, contract: str) -> None:
    for package in PACKAGES:
        shutil.copytree(CLONE / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CLONE / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"{line}\n")
    broken = [text for text in _lint(tmp_path).stdout.splitlines() if " BROKEN" in text]
    assert len(broken) == 1
    assert broken[0].startswith(contract)
