"""The daemons of both Debian releases accept every file of the golden tests' named hosts."""

import pytest

from model.bundle import bundle
from tests.golden.cases import CASES
from tests.parsers.judge import Judge, Verdict
from tests.parsers.samples import SERVICES, settings

Verdicts = dict[tuple[str, str, str], Verdict]


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    """What came so far of the files of a machine's service: many of the named hosts have the same."""
    return {}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("service", SERVICES)
def test_rendered_files_are_accepted(court: Judge, verdicts: Verdicts, service: str, case: str) -> None:
    rendered = SERVICES[service](settings(case, court.machine.release))
    files = court.machine.name, service, bundle(rendered)
    if files not in verdicts:
        verdicts[files] = court.judge(service, rendered)
    assert (verdicts[files].code, verdicts[files].said) == (0, "")
    assert verdicts[files].live == {file.path for file in rendered}
