"""The succession of DKIM keys: exactly one signs at each stage, and nothing is withdrawn too early."""

from datetime import UTC, datetime, timedelta

import pytest

from model import rotation
from model.problems import SettingsError
from model.rotation import Applied
from model.settings import refuse_haste
from tests.unit.samples import settings

SINCE = datetime(2026, 11, 23, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stated", "selectors"),
    [
        ({}, {"mail": "signs"}),
        ({"generation": 2, "stage": "published"}, {"mail": "signs", "mail-2": "published"}),
        ({"generation": 2, "stage": "signing"}, {"mail": "retiring", "mail-2": "signs"}),
        ({"generation": 2, "since": "2026-11-23T04:00:00Z"}, {"mail": "withdrawn", "mail-2": "signs"}),
        ({"generation": 3, "stage": "published"}, {"mail-2": "signs", "mail-3": "published"}),
    ],
)
def test_one_key_signs_at_each_stage(stated: dict[str, object], selectors: dict[str, str]) -> None:
    (domain,) = settings(dkim={"rotation": stated}).served
    assert {key.selector: key.state for key in domain.keys} == selectors
    assert selectors[domain.selector] == "signs"


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"stage": "signing"}, "dkim.rotation.stage: is signing, but the first key has none before it"),
        ({"generation": 2}, "dkim.rotation.since: is missing"),
        (
            {"generation": 2, "stage": "signing", "since": "2026-11-23T04:00:00Z"},
            "dkim.rotation.since: is the former key's",
        ),
        ({"every": "soon"}, "dkim.rotation.every: 'soon' is not a duration"),
    ],
)
def test_a_contradiction_is_one_line(stated: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(dkim={"rotation": stated})
    (line,) = refused.value.problems
    assert said in line


@pytest.mark.parametrize(
    ("stated", "due"),
    [
        ({}, "when you say so"),
        ({"every": "180d"}, "2027-05-22T04:00:00Z"),
        ({"generation": 2, "stage": "published"}, "now"),
        ({"generation": 2, "stage": "signing"}, "2026-11-30T04:00:00Z"),
    ],
)
def test_the_outputs_say_when_the_next_stage_is_due(stated: dict[str, object], due: str) -> None:
    made = settings(dkim={"rotation": stated})
    said = rotation.ahead(made.dkim.rotation, made.dkim_grace, rotation.when(SINCE))
    assert said["due"] == due
    late = rotation.overdue(said, SINCE + timedelta(days=180))
    assert late == (f"{said['next']} is due since {due}" if due.startswith("20") else "")
    assert rotation.overdue(said, SINCE) == ""


def test_withdrawing_before_the_grace_is_over_is_refused_in_one_line() -> None:
    made = settings(dkim={"rotation": {"generation": 2, "since": "2026-11-23T04:00:00Z"}})
    assert made.dkim_grace == timedelta(days=7)
    refuse_haste(made, SINCE + timedelta(days=7))
    with pytest.raises(SettingsError, match="under way until 2026-11-30T04:00:00Z") as refused:
        refuse_haste(made, SINCE + timedelta(days=7, seconds=-1))
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("stated", "done", "after", "refused"),
    [
        ({"generation": 2, "stage": "published"}, Applied(), 99, "run `pulumi up` first"),
        ({"every": "180d"}, Applied(since=SINCE), 179, "due on 2027-05-22"),
        ({"every": "180d"}, Applied(since=SINCE), 180, ""),
        ({}, Applied(), 0, ""),
        ({"generation": 2, "stage": "published"}, Applied(generation=2, stage="published"), 0, ""),
        (
            {"generation": 2, "stage": "signing"},
            Applied(generation=2, stage="signing", since=SINCE),
            6,
            "until 2026-11-30",
        ),
        ({"generation": 2, "stage": "signing"}, Applied(generation=2, stage="signing", since=SINCE), 7, ""),
    ],
)
def test_the_next_stage_comes_in_its_time(stated: dict[str, object], done: Applied, after: int, refused: str) -> None:
    made = settings(dkim={"rotation": stated})
    step = rotation.following(made.dkim.rotation, done, made.dkim_grace, SINCE + timedelta(days=after), start=False)
    assert refused in step.refused
    assert bool(step.refused) == bool(refused)
    assert bool(step.values) != bool(step.refused)


STAGES = ("published", "signing", "settled")


@pytest.mark.parametrize("now", STAGES)
@pytest.mark.parametrize("done", STAGES)
@pytest.mark.parametrize("step", [-2, -1, 0, 1, 2])
def test_no_stage_is_reached_that_loses_a_key_in_use(step: int, done: str, now: str) -> None:
    generation = 4
    before = settings(dkim={"rotation": _stated(generation, done)})
    after = settings(dkim={"rotation": _stated(generation + step, now)})
    used = {key.generation for domain in before.served for key in domain.keys if key.on_host}
    # The former key that signs no more is given up by settling, and by nothing else: `too_early` sees to the date.
    given_up = {generation - 1} if (step, done, now) == (0, "signing", "settled") else set()
    usable = {key.generation for domain in after.served for key in domain.keys if key.state != "withdrawn"}
    # What was withdrawn before does not come back: it would be another key, and the record is remembered for a while.
    possible = used - given_up <= usable and min(usable) >= min(used)
    outputs = {"dkim": {"generation": float(generation), "stage": done, "since": "2026-01-01T00:00:00Z"}}
    problem = rotation.leap(after.dkim.rotation, outputs, "prod")
    assert bool(problem) is not possible
    if problem:
        assert f"generation {generation + step} {now} cannot follow generation {generation} {done}" in problem
        assert f"--plaintext dkim.rotation.generation={generation} --plaintext dkim.rotation.stage={done}" in problem
        assert "make rotate STACK=prod" in problem


def test_a_new_stack_may_begin_with_any_key_and_one_from_before_rotation_has_the_first() -> None:
    third = settings(dkim={"rotation": _stated(3, "settled")}).dkim.rotation
    assert rotation.leap(third, {}, "prod") == ""
    assert rotation.leap(third, {"hostname": "mail.example.com"}, "prod")
    first = settings().dkim.rotation
    assert rotation.leap(first, {"hostname": "mail.example.com"}, "prod") == ""


def test_setting_a_stage_back_takes_the_date_with_it() -> None:
    settled = settings(dkim={"rotation": _stated(2, "settled")}).dkim.rotation
    problem = rotation.leap(settled, {"dkim": {"generation": 2, "stage": "published", "since": ""}}, "prod")
    assert "pulumi config rm --path dkim.rotation.since" in problem
    first = settings().dkim.rotation
    done = {"generation": 2, "stage": "settled", "since": "2026-01-01T00:00:00Z"}
    assert "--plaintext dkim.rotation.since=2026-01-01T00:00:00Z" in rotation.leap(first, {"dkim": done}, "prod")


def _stated(generation: int, stage: str) -> dict[str, object]:
    since = {"since": "2026-01-01T00:00:00Z"} if stage == "settled" else {}
    return {"generation": generation, "stage": stage, **since}
