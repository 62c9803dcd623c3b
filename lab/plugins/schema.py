"""What a resource accepts, and how old and new are compared: the official schema's rules as data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lab.plugins.values import Secret, Unknown, plain

Type = Literal["string", "number", "integer", "boolean", "any", "list", "map", "object"]
Change = Literal["add", "delete", "update"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One property: its type, and for containers what they hold."""

    type: Type = "string"
    required: bool = False
    secret: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    replaces: bool = False
    """A change replaces the resource."""
    items: "Field | None" = None
    """Element of a list or map."""
    fields: "Mapping[str, Field] | None" = None
    """Properties of an object."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why an input is refused; `path` is the property's path, as the engine prints it."""

    path: str
    reason: str


_PYTHON_TYPES: Final[Mapping[Type, tuple[type, ...]]] = {
    "string": (str,),
    "number": (float, int),
    "integer": (float, int),
    "boolean": (bool,),
    "list": (list,),
    "map": (dict,),
    "object": (dict,),
}


def normalise(fields: Mapping[str, Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with the schema's defaults filled in and its secret properties marked secret."""
    result = dict(values)
    for key, field in fields.items():
        value = result.get(key, field.default)
        if value is None:
            continue
        inner = value.value if isinstance(value, Secret) else value
        if field.fields is not None and isinstance(inner, dict):
            inner = normalise(field.fields, inner)
        result[key] = Secret(inner) if field.secret or isinstance(value, Secret) else inner
    return result


def problems(fields: Mapping[str, Field], values: Mapping[str, Any], at: str = "") -> Iterator[Problem]:
    """Whatever the schema does not allow: unknown names, missing or mistyped values."""
    for key in values.keys() - fields.keys():
        known = ", ".join(sorted(fields))
        yield Problem(path=f"{at}{key}", reason=f"there is no property {key!r} here; there are: {known}")
    for key, field in fields.items():
        value = plain(values.get(key))
        if value is None:
            if field.required:
                yield Problem(path=f"{at}{key}", reason=f"the required property {key!r} is missing")
        else:
            yield from _value_problems(field, value, f"{at}{key}")


def _value_problems(field: Field, value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, Unknown) or field.type == "any":
        return
    if not _is_of(field.type, value):
        yield Problem(path=path, reason=f"must be a value of type {field.type}, not {type(value).__name__}")
    elif field.type == "integer" and value != int(value):
        yield Problem(path=path, reason="must be a whole number")
    elif field.choices and value not in field.choices:
        yield Problem(path=path, reason=f"must be one of {', '.join(map(str, field.choices))}")
    elif field.fields is not None:
        yield from problems(field.fields, value, f"{path}.")
    elif field.items is not None:
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for key, member in members:
            if member is not None:
                yield from _value_problems(field.items, member, f"{path}[{key!r}]")


def _is_of(kind: Type, value: Any) -> bool:
    expected = _PYTHON_TYPES[kind]
    return isinstance(value, expected) and (bool in expected or not isinstance(value, bool))


def changes(fields: Mapping[str, Field], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    """Input properties whose plain value differs, by path; lists element by element, as the engine shows them."""
    result: dict[str, Change] = {}
    for key, field in fields.items():
        before, after = plain(old.get(key)), plain(new.get(key))
        if field.type in {"list"} and isinstance(before, list) and isinstance(after, list):
            for index in range(max(len(before), len(after))):
                pair = [items[index] if index < len(items) else None for items in (before, after)]
                result.update(_change(f"{key}[{index}]", *pair))
        else:
            result.update(_change(key, before, after))
    return result


def secrecy_changes(fields: Mapping[str, Field], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    """Input properties whose value stays and becomes secret, or is no longer."""
    shared = fields.keys() & old.keys() & new.keys()
    return {key: "update" for key in shared if plain(old[key]) == plain(new[key]) and old[key] != new[key]}


def _change(path: str, before: Any, after: Any) -> dict[str, Change]:
    # An unknown equals nothing, not even the same unknown of the last preview.
    if before == after and not isinstance(after, Unknown):
        return {}
    return {path: "add" if before is None else "delete" if after is None else "update"}
