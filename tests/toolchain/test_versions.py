"""A version that stands in several files is the same in all of them."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from toolchain import cache, golang, pulumi, venv

PROJECT = tomllib.loads((cache.CLONE / "pyproject.toml").read_text())
WORKFLOWS = sorted((cache.CLONE / ".github" / "workflows").glob("*.yml"))


def _required(module: str, dependency: str) -> str:
    text = (cache.SOURCE / module / "go.mod").read_text()
    found = re.search(rf"^\s+{re.escape(dependency)} v(\S+)", text, re.MULTILINE)
    assert found is not None
    return found[1]


def _pinned(requirements: Path) -> str:
    return requirements.read_text().split()[0].split("==")[1]


def test_the_command_that_is_built_is_the_version_that_is_linked_into_it() -> None:
    assert _required("pulumi", "github.com/pulumi/pulumi/pkg/v3") == pulumi.CLI_VERSION
    assert _required("pulumi", "github.com/pulumi/pulumi/sdk/v3") == pulumi.CLI_VERSION
    assert _required("language-host", "github.com/pulumi/pulumi/sdk/v3") == pulumi.HOST_VERSION


def test_command_and_python_sdk_are_one_version() -> None:
    assert f"pulumi=={pulumi.CLI_VERSION}" in PROJECT["project"]["dependencies"]


def test_pulumi_yaml_requires_what_the_toolchain_accepts() -> None:
    project = yaml.safe_load((cache.CLONE / "Pulumi.yaml").read_text())
    assert project["requiredPulumiVersion"] == f">={pulumi.CLI_VERSION}"
    assert project["runtime"]["options"] == {"toolchain": "uv", "virtualenv": ".venv"}


@pytest.mark.parametrize(
    ("action", "setting", "version"),
    [
        ("pulumi/actions", "pulumi-version", pulumi.CLI_VERSION),
        ("astral-sh/setup-uv", "version", _pinned(venv.UV_REQUIREMENTS)),
    ],
)
def test_workflows_use_the_toolchains_versions(action: str, setting: str, version: str) -> None:
    jobs = [job for workflow in WORKFLOWS for job in yaml.safe_load(workflow.read_text())["jobs"].values()]
    steps = [step for job in jobs for step in job["steps"] if step.get("uses", "").startswith(f"{action}@")]
    assert {step["with"][setting] for step in steps} == {version}


def test_the_go_from_pypi_is_new_enough_for_every_module() -> None:
    go = tuple(int(part) for part in _pinned(golang.GO_REQUIREMENTS).split("."))
    modules = list(cache.SOURCE.glob("*/go.mod"))
    assert modules
    for module in modules:
        needed = re.search(r"^go (\S+)$", module.read_text(), re.MULTILINE)
        assert needed is not None
        assert go >= tuple(int(part) for part in needed[1].split("."))


def test_every_python_package_of_the_project_is_pinned() -> None:
    groups = PROJECT["dependency-groups"]
    for requirement in [*PROJECT["project"]["dependencies"], *groups["lab"], *groups["dev"]]:
        assert "==" in requirement or requirement.startswith("pip>="), requirement
