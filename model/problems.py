"""From what pydantic found to what an operator reads: one line per problem with field, value and fix."""

import difflib
import json
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_SECRET: Final = frozenset({"controllerPassword", "mailboxes", "mailboxesKey", "password", "sshPrivateKey"})
_LONGEST_SHOWN: Final = 80
# How a required key is set; objects are set by path.
_EXAMPLES: Final = {
    "domain": "pulumi config set domain example.com",
    "ipv4": "pulumi config set ipv4 <the host's public IPv4 address>",
    "hostKey": 'pulumi config set hostKey "ssh-ed25519 AAAA…"  (from: ssh-keyscan -t ed25519 HOST)',
    "mailboxes": "make mailbox ADDRESS=alice@example.com",
}
# By pydantic's error type (<https://docs.pydantic.dev/latest/errors/validation_errors/>).
_MESSAGES: Final = {
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "greater_than_equal": "is too small; the least is {ge}",
    "int_from_float": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "less_than_equal": "is too large; the most is {le}",
    "literal_error": "is not supported; choose {expected}",
    "model_type": "must hold keys of its own",
    "string_pattern_mismatch": "has the wrong form; it must match {pattern}",
    "string_type": "is not text",
    "tuple_type": "is not a list",
}


class SettingsError(ValueError):
    """The configuration cannot be used. `problems` and the text list every reason, one per line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class LocatedError(ValueError):
    """Problems that a validator found in other fields than its own, as (place, problem)."""

    def __init__(self, found: Iterable[tuple[str, str]]) -> None:
        self.lines = tuple(f"{place}: {problem}" for place, problem in found)
        super().__init__("\n".join(self.lines))


def shown(value: object) -> str:
    """Quote a value for a message: one line, not long, and not at all when it looks like a key or a hash."""
    text = str(value)
    if "PRIVATE KEY" in text or "$" in text or "{" in text:
        return "(value not shown)"
    short = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    return repr(short)


def parse_objects(raw: Mapping[str, str], model: type[BaseModel]) -> tuple[dict[str, Any], list[str]]:
    """Parse the JSON text of those keys whose field holds more than a scalar.

    Returns:
        All values, without those that could not be parsed; and a problem for each of these.
    """
    objects = {field.alias for field in model.model_fields.values() if not _is_scalar(field.annotation)}
    values: dict[str, Any] = {}
    found: list[str] = []
    for key, text in raw.items():
        if key not in objects:
            values[key] = text
            continue
        try:
            value = json.loads(text, object_pairs_hook=no_duplicates)
        except DuplicateKeyError as error:
            found.append(f"{key}: {error}")
        except (ValueError, RecursionError):
            value = None
        else:
            if isinstance(value, dict):
                values[key] = value
                continue
            value = None
        if not found or not found[-1].startswith(f"{key}: "):
            found.append(f"{key}: must hold keys of its own; set them with: pulumi config set --path '{key}.KEY' VALUE")
    return values, found


def describe(error: ValidationError, model: type[BaseModel], skip: Collection[str] = ()) -> list[str]:
    """Say each error in a line; `skip` names top-level keys already reported."""
    lines: list[str] = []
    for detail in error.errors(include_url=False):
        # A key of an object is at fault itself: pydantic adds "[key]" to its place.
        place = [str(part) for number, part in enumerate(detail["loc"]) if part != "[key]" or not number]
        # A default that a validator refuses comes with its field's name, everything else with its key.
        if detail["type"] == "value_error" and place[0] in model.model_fields:
            place[0] = model.model_fields[place[0]].alias or place[0]
        # A default that could not be computed follows from another field's error.
        if detail["type"] == "default_factory_not_called" or (detail["type"] == "missing" and place[0] in skip):
            continue
        elsewhere = detail.get("ctx", {}).get("error")
        if isinstance(elsewhere, LocatedError):
            lines += elsewhere.lines
            continue
        lines += [f"{'.'.join(place)}: {line}" for line in _sentences(detail, place, model)]
    return list(dict.fromkeys(lines))


def _sentences(detail: ErrorDetails, place: list[str], model: type[BaseModel]) -> list[str]:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return [_unknown_key(place, model)]
    if kind == "missing":
        return [f"is missing; {_EXAMPLES.get(place[0], 'set it')}"]
    value = ""
    if (
        not _SECRET.intersection(place)
        and detail["input"] != ""
        and not isinstance(detail["input"], Mapping | BaseModel)
    ):
        value = f"{shown(detail['input'])} "
    if kind == "value_error":
        return [f"{value}{line}" for line in str(context["error"]).split("\n")]
    return [value + _MESSAGES.get(kind, "is refused: {msg}").format(msg=detail["msg"], **context)]


def _unknown_key(place: list[str], model: type[BaseModel]) -> str:
    known = _keys(place[:-1], model)
    name = place[-1]
    head = name.partition(".")[0]
    if len(place) == 1 and "." in name and head in known:
        return f"unknown key; {head} holds keys of its own, set them with: pulumi config set --path '{name}' VALUE"
    close = difflib.get_close_matches(name, known, n=1) or [key for key in known if key.lower() == name.lower()]
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"unknown key; {hint}"


def _keys(place: list[str], model: type[BaseModel]) -> list[str]:
    parts = iter(place)
    for part in parts:
        field = next(field for field in model.model_fields.values() if field.alias == part)
        annotation = field.annotation
        if typing.get_origin(annotation) is Mapping:
            next(parts, None)  # the name of one of several
            annotation = typing.get_args(annotation)[1]
        model = typing.cast(type[BaseModel], annotation)
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_scalar(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated, typing.Literal):
        return all(_is_scalar(part) for part in typing.get_args(annotation) if isinstance(part, type))
    return origin is None and not (isinstance(annotation, type) and issubclass(annotation, BaseModel))


class DuplicateKeyError(ValueError):
    """An object in JSON text has a key twice."""


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON's pairs (`json.loads`, object_pairs_hook).

    Raises:
        DuplicateKeyError: a key stands there twice; it is named if it is an address.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            label = shown(key) if "@" in key else "a key"
            raise DuplicateKeyError(f"{label} is listed twice; keep one")
        found[key] = value
    return found
