"""The GitHub workflows: linted, pinned, least rights, no secrets for forks."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolchain import actionlint

CLONE = Path(__file__).parent.parent.parent
FOLDER = CLONE / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return loaded


def test_actionlint_finds_nothing() -> None:
    done = subprocess.run([actionlint.provide()], cwd=CLONE, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing() -> None:
    command = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--persona", "pedantic", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_with_its_version_beside_it(workflow: Path) -> None:
    uses = re.findall(r"uses: (.+)$", workflow.read_text(), re.MULTILINE)
    assert uses
    assert [line for line in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_given_job_by_job(workflow: Path) -> None:
    loaded = _load(workflow.name)
    assert loaded["permissions"] == {}
    assert all("permissions" in job for job in loaded["jobs"].values())


def test_no_secret_is_read_before_the_checks_passed() -> None:
    jobs = [job for workflow in WORKFLOWS for job in _load(workflow.name)["jobs"].values()]
    reading = [job for job in jobs if "{{ secrets." in yaml.safe_dump(job)]
    assert reading
    for job in reading:
        assert job["needs"] == "check", job
        assert "environment" in job, job


def test_a_fork_gets_no_secrets_but_a_word() -> None:
    workflow = _load("preview.yml")
    # pull_request_target would run with the secrets, whoever wrote the code.
    assert "pull_request_target" not in (FOLDER / "preview.yml").read_text()
    same_repository = "github.event.pull_request.head.repo.full_name == github.repository"
    reading = [job for job in workflow["jobs"].values() if "{{ secrets." in yaml.safe_dump(job)]
    assert reading
    assert [job for job in reading if same_repository not in job["if"]] == []
    assert same_repository.replace("==", "!=") in workflow["jobs"]["no-preview"]["if"]


def test_an_update_is_never_cut_off() -> None:
    assert _load("up.yml")["concurrency"] == {"group": "up", "cancel-in-progress": False}


def test_make_preview_runs_the_steps_of_the_workflow() -> None:
    jobs = _load("preview.yml")["jobs"]
    makefile = (CLONE / "Makefile").read_text()
    assert [step["run"] for step in jobs["check"]["steps"] if "run" in step] == ["make check"]
    assert "\npreview: check ##" in makefile
    plan = jobs["preview"]["steps"][-1]["with"]
    assert (plan["command"], plan["diff"]) == ("preview", True)
    assert "pulumi preview --stack $(STACK) --diff" in makefile


def test_the_doctor_has_the_last_word_after_an_update() -> None:
    steps = _load("up.yml")["jobs"]["up"]["steps"]
    assert [bool(step.get("with", {}).get("command")) for step in steps[-2:]] == [True, False]
    assert steps[-1]["run"].startswith(".venv/bin/python -m doctor ")
    given, needed = steps[-1]["env"], steps[-2]["env"]
    assert {name for name in needed if "secrets." in str(needed[name])} <= given.keys()
