"""The daemons of both Debian releases accept every file of the golden tests' named hosts."""

import pytest

from tests.golden.cases import CASES
from tests.parsers.judge import Judge
from tests.parsers.samples import SERVICES, settings


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("service", SERVICES)
def test_rendered_files_are_accepted(court: Judge, service: str, case: str) -> None:
    rendered = SERVICES[service](settings(case, court.machine.release))
    verdict = court.judge(service, rendered)
    assert (verdict.code, verdict.said) == (0, "")
    assert verdict.live == {file.path for file in rendered}
