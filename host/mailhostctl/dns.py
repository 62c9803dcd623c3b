"""The DNS message codec: just enough to ask one question and read the answer (RFC 1035, EDNS0 of RFC 6891).

Decoding never trusts the sender: each read is bounds-checked and compression pointers only lead backwards, so any input
ends in a `Message` or in `MalformedError`.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "MX": 15, "TXT": 16, "AAAA": 28, "TLSA": 52, "CAA": 257}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}

_NAMES = {number: name for name, number in TYPES.items()}
_OPT = 41
_PAYLOAD = 1232
"""UDP answer size that avoids fragments (DNS flag day 2020)."""
_HEADER = struct.Struct("!6H")
_RECURSION_DESIRED = 0x0100
_AUTHENTIC = 0x0020
"""AD. In a question: that we understand it (RFC 6840 5.7). In the answer of a resolver: DNSSEC has proved it."""
_RESPONSE = 0x8000
_TRUNCATED = 0x0200


class MalformedError(Exception):
    """Bytes that are no DNS message."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One answer: lower-case owner name without final dot, type, value in presentation form (TXT: joined strings)."""

    name: str
    type: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """A decoded response. `question` is (name, type number)."""

    identity: int
    response: bool
    truncated: bool
    authentic: bool
    rcode: int
    question: tuple[str, int] | None
    answers: tuple[Record, ...]


def encode_query(identity: int, name: str, kind: str, *, recursive: bool) -> bytes:
    """One question with an EDNS0 record announcing our buffer; raises ValueError for a name that cannot be asked."""
    header = _HEADER.pack(identity, _RECURSION_DESIRED | _AUTHENTIC if recursive else 0, 1, 0, 0, 1)
    question = encode_name(name) + struct.pack("!HH", TYPES[kind], 1)
    return header + question + b"\0" + struct.pack("!HHIH", _OPT, _PAYLOAD, 0, 0)


def encode_name(name: str) -> bytes:
    """Wire form of a name (RFC 1035 3.1); raises ValueError over 63 octets a label or 255 in all."""
    wire = b""
    for label in name.rstrip(".").split(".") if name.rstrip(".") else []:
        octets = label.encode("ascii")
        if not 0 < len(octets) < 64:  # noqa: PLR2004 -- RFC 1035 2.3.4
            raise ValueError(f"{name!r}: a label must have 1 to 63 characters")
        wire += bytes([len(octets)]) + octets
    if len(wire) > 254:  # noqa: PLR2004 -- RFC 1035 2.3.4, with the root's octet
        raise ValueError(f"{name!r}: longer than 255 octets")
    return wire + b"\0"


def decode(wire: bytes) -> Message:
    """Reads a message; raises `MalformedError` for anything else. Record types not in `TYPES` are left out."""
    if len(wire) < _HEADER.size:
        raise MalformedError("shorter than a header")
    identity, flags, questions, answers, _, _ = _HEADER.unpack_from(wire)
    offset = _HEADER.size
    question = None
    for _ in range(questions):
        name, offset = _name(wire, offset)
        kind, _class = _unpack("!HH", wire, offset)
        offset += 4
        question = (name, kind)
    records = []
    if not flags & _TRUNCATED:
        for _ in range(answers):
            name, offset = _name(wire, offset)
            kind, _class, _ttl, length = _unpack("!HHIH", wire, offset)
            offset += 10
            if offset + length > len(wire):
                raise MalformedError("record data beyond the end")
            if kind in _NAMES:
                value = _value(wire, _NAMES[kind], offset, length)
                records.append(Record(name=name, type=_NAMES[kind], value=value))
            offset += length
    return Message(
        identity=identity,
        response=bool(flags & _RESPONSE),
        truncated=bool(flags & _TRUNCATED),
        authentic=bool(flags & _AUTHENTIC),
        rcode=flags & 0xF,
        question=question,
        answers=tuple(records),
    )


def _unpack(layout: str, wire: bytes, offset: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, wire, offset)
    except struct.error:
        raise MalformedError("ends within a field") from None


def _name(wire: bytes, offset: int) -> tuple[str, int]:
    """A possibly compressed name (RFC 1035 4.1.4) and the offset after it."""
    labels: list[str] = []
    end = 0
    size = 0
    start = offset
    while True:
        (length,) = _unpack("!B", wire, offset)
        if length == 0:
            return ".".join(labels).lower(), end or offset + 1
        if length & 0xC0 == 0xC0:  # noqa: PLR2004 -- RFC 1035 4.1.4
            pointer = _unpack("!H", wire, offset)[0] & 0x3FFF
            end = end or offset + 2
            if pointer >= start:  # strictly backwards: no loop is possible
                raise MalformedError("compression pointer does not lead backwards")
            start = offset = pointer
            continue
        if length & 0xC0:
            raise MalformedError("reserved label type")
        label = wire[offset + 1 : offset + 1 + length]
        size += length + 1
        if len(label) < length or size > 254:  # noqa: PLR2004 -- RFC 1035 2.3.4
            raise MalformedError("name too long or cut off")
        labels.append(label.decode("latin-1"))
        offset += 1 + length


def _value(wire: bytes, kind: str, offset: int, length: int) -> str:
    data = wire[offset : offset + length]
    if (kind, length) in {("A", 4), ("AAAA", 16)}:
        return str(ipaddress.ip_address(data))
    if kind == "TXT":
        return _joined(data)
    if kind == "MX" and length > 2:  # noqa: PLR2004 -- preference and a name
        return f"{_unpack('!H', wire, offset)[0]} {_name(wire, offset + 2)[0]}"
    if kind == "TLSA" and length > 3:  # noqa: PLR2004 -- usage, selector, matching type, and a digest (RFC 6698 2.1)
        return f"{data[0]} {data[1]} {data[2]} {data[3:].hex()}"
    if kind == "CAA" and length > 2 and 0 < data[1] <= length - 2:  # noqa: PLR2004 -- flags, tag, value (RFC 8659 4.1)
        tag, value = data[2 : 2 + data[1]], data[2 + data[1] :]
        return f'{data[0]} {tag.decode("latin-1").lower()} "{value.decode("latin-1")}"'
    if kind in {"NS", "CNAME"} and length:
        return _name(wire, offset)[0]
    raise MalformedError(f"{kind} record of {length} octets")


def _joined(data: bytes) -> str:
    """The character-strings of a TXT record as one text (RFC 1035 3.3.14; joined without spaces, RFC 7208 3.3)."""
    text = b""
    while data:
        piece = data[1 : 1 + data[0]]
        if len(piece) < data[0]:
            raise MalformedError("character-string beyond the end")
        text += piece
        data = data[1 + len(piece) :]
    return text.decode("latin-1")
