"""The reference of the settings is complete and up to date."""

import re
from pathlib import Path

from model import reference
from model.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_every_setting_is_explained() -> None:
    rows = reference.rows(Settings)
    assert len(rows) > len(Settings.model_fields)
    assert all(default and len(text) > 10 for _, default, text in rows)
    assert len({key for key, _, _ in rows}) == len(rows)


def test_the_document_is_the_models() -> None:
    """To bring it up to date: `python -m model.reference > docs/configuration.md`."""
    assert DOCUMENT.read_text(encoding="utf-8") == reference.markdown()


def test_keys_are_pulumis_camel_case() -> None:
    assert all(re.fullmatch(r"[a-z][a-zA-Z0-9.]*", key) for key, _, _ in reference.rows(Settings))
