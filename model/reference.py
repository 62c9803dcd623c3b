"""The reference of all settings as Markdown, from the model's own field documentation: `python -m model.reference`."""

import ast
import inspect
import itertools
import sys
import typing
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from model import settings

_HEAD = """# Configuration

<!-- Made by `python -m model.reference` from model/settings.py and model/options.py; do not edit. -->

Keys of the namespace `mailhost`, set with `pulumi config set KEY VALUE`; a key with a dot needs `--path`, a secret one
`--secret`. NAME and ADDRESS stand for a domain and a mail address, which a path takes in brackets and quotation marks:
`'domains["example.org"].selector'`. A wrong value, or a key that is not listed here, stops the preview with a message.

| key | default | meaning |
|---|---|---|
"""

_PLACEHOLDERS: Final = {"domains": "NAME", "mailboxes": "ADDRESS"}


def markdown() -> str:
    """Return the whole document."""
    return _HEAD + "".join(f"| `{key}` | {default} | {text} |\n" for key, default, text in rows(settings.Settings))


def rows(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str]]:
    """Return key, default and meaning of each setting, those of nested objects by path."""
    texts = _docstrings(model)
    found: list[tuple[str, str, str]] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += rows(field.annotation, f"{key}.")
            continue
        text, _, derived = texts[name].partition("; default: ")
        if typing.get_origin(field.annotation) is typing.Literal:
            text = f"{text.rstrip('.')}: {', '.join(str(choice) for choice in typing.get_args(field.annotation))}"
        found.append((key, _default(field, derived), f"{text.rstrip('.')}."))
        each = _each(field)
        if each:
            found += rows(each, f"{key}.{_PLACEHOLDERS[name]}.")
    return found


def _each(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of each value where a field holds several by name."""
    if typing.get_origin(field.annotation) is not Mapping:
        return None
    _, value = typing.get_args(field.annotation)
    return value if isinstance(value, type) and issubclass(value, BaseModel) else None


def _default(field: FieldInfo, derived: str) -> str:
    if field.is_required():
        return "**required**"
    if derived:
        return derived.rstrip(".")
    value: Any = {} if field.default_factory is dict else field.default
    return (
        f"`{str(value).lower() if isinstance(value, bool) else value}`" if value not in (None, (), {}, "") else "none"
    )


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    body = ast.parse(inspect.getsource(model)).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    return {
        field.target.id: " ".join(str(text.value.value).split()).replace("<", "&lt;")
        for field, text in itertools.pairwise(statements)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


if __name__ == "__main__":
    sys.stdout.write(markdown())
