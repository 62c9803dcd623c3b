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
