"""docs/doctor.md is made from the table in the code."""

from pathlib import Path

from doctor import checks, reference

DOCUMENT = Path(__file__).parents[2] / "docs" / "doctor.md"


def test_the_page_is_what_the_table_says() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference.markdown()


def test_every_check_says_what_why_and_how() -> None:
    for check in (*checks.DOCTOR, *checks.PREFLIGHT):
        assert check.level in {"stops", "warns"}
        assert not check.what.endswith(".")
        assert check.why.endswith(".")
        assert check.fix.endswith(".")
        assert "|" not in check.what + check.why + check.fix  # it would end a column
