"""Property values of the plugin protocol as plain Python values.

Numbers, text, lists and mappings are themselves; what Python has no word for is `UNKNOWN` (a value a preview cannot
know yet) and `Secret`. Signatures: pulumi/pulumi, sdk/go/common/resource/properties.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import struct_pb2

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's marker, no secret
UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS: Final = frozenset(
    {
        UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


class Unknown:
    """A value that only the real run will know; `UNKNOWN` is its one instance."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Secret:
    """A value the engine encrypts in state and masks in output; its parts may be secret once more."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(…)"


def decode(value: struct_pb2.Value) -> Any:
    """Turn a protocol value into Python; raises ValueError on an asset or a resource reference: we accept none."""
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [decode(item) for item in value.list_value.values]
        case "struct_value":
            return _decode_struct(value.struct_value)
        case _:
            return None


def _decode_struct(struct: struct_pb2.Struct) -> Any:
    fields = {key: decode(item) for key, item in struct.fields.items()}
    signature = fields.get(SIGNATURE)
    if signature is None:
        return fields
    if signature == SECRET_SIGNATURE:
        return Secret(fields.get("value"))
    raise ValueError(f"values with signature {signature} are not accepted")


def encode(value: Any) -> struct_pb2.Value:  # noqa: PLR0911 - one case per kind of value
    """Turn a Python value back into the protocol's."""
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case Unknown():
            return struct_pb2.Value(string_value=UNKNOWN_STRING)
        case Secret(value=inner):
            fields = {SIGNATURE: struct_pb2.Value(string_value=SECRET_SIGNATURE), "value": encode(inner)}
            return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int() | float():
            return struct_pb2.Value(number_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case Mapping():
            return struct_pb2.Value(struct_value=encode_map(value))
        case _:
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[encode(item) for item in value]))


def decode_map(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Decode a property map; null values are left out, as the SDKs mean them."""
    decoded = {key: decode(item) for key, item in struct.fields.items()}
    return {key: value for key, value in decoded.items() if value is not None}


def encode_map(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Encode a property map, without its null values."""
    return struct_pb2.Struct(fields={key: encode(value) for key, value in values.items() if value is not None})


def plain(value: Any) -> Any:
    """The value without its secret markers."""
    match value:
        case Secret(value=inner):
            return plain(inner)
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _:
            return value


def has_unknown(value: Any) -> bool:
    """Whether any part of the value is unknown."""
    match value:
        case Unknown():
            return True
        case Secret(value=inner):
            return has_unknown(inner)
        case Mapping():
            return any(has_unknown(item) for item in value.values())
        case list():
            return any(has_unknown(item) for item in value)
        case _:
            return False


def has_secret(value: Any) -> bool:
    """Whether any part of the value is secret."""
    match value:
        case Secret():
            return True
        case Mapping():
            return any(has_secret(item) for item in value.values())
        case list():
            return any(has_secret(item) for item in value)
        case _:
            return False
