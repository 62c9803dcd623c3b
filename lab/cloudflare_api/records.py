"""Which records a zone accepts, and the form in which they come back: pure rules, no I/O.

Sources: developers.cloudflare.com/dns/manage-dns-records; messages as users report them from the real API.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lab.cloudflare_api.errors import ApiError, invalid

AUTOMATIC_TTL: Final = 1
PUBLISHED_AUTOMATIC_TTL: Final = 300  # seconds a resolver sees for "automatic"
_TTL_RANGE: Final = range(60, 86401)  # seconds
_TXT_LIMIT: Final = 2048  # characters of one record
_TXT_NAME_LIMIT: Final = 8192  # characters of all at one name
_COMMENT_LIMIT: Final = 100  # characters, on the free plan
_CHUNK: Final = 255  # octets of one character-string (RFC 1035 section 3.3)
_ADDRESS: Final = frozenset({"A", "AAAA"})
_PROXIABLE: Final = frozenset({"A", "AAAA", "CNAME"})
_HOST: Final = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*", re.IGNORECASE)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DATA_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "SRV": ("priority", "weight", "port", "target"),
    "CAA": ("flags", "tag", "value"),
    "TLSA": ("usage", "selector", "matching_type", "certificate"),
}


def full_name(name: str, zone: str) -> str:
    """The name as Cloudflare stores it: complete, lower case, no trailing dot; "@" is the zone itself."""
    name = name.strip().removesuffix(".").lower()
    if name in {"@", zone}:
        return zone
    return name if name.endswith(f".{zone}") else f"{name}.{zone}"


def record(body: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """The record a request asks for, in stored form.

    Raises:
        ApiError: the DNS rules refuse it.
    """
    kind = str(body.get("type", "")).upper()
    if kind not in _CONTENT:
        raise invalid(9004, f"Invalid record type {kind or '(none)'}.")
    name = full_name(str(body.get("name") or ""), zone)
    if not _HOST.fullmatch(name.removeprefix("*.")):
        raise invalid(9000, "DNS name is invalid.")
    # The provider sends the content of before with changed data.
    data = _data(kind, body) if kind in _DATA_KEYS else None
    result: dict[str, Any] = {
        "name": name,
        "type": kind,
        "content": _text_content(kind, body) if data is None else _CONTENT[kind](data),
        "ttl": _ttl(body),
        "proxied": _proxied(kind, body),
        "comment": _comment(body),
        "tags": _tags(body),
        "settings": dict(body.get("settings") or {}),
    }
    if result["proxied"]:
        result["ttl"] = AUTOMATIC_TTL
    if data is not None:
        result["data"] = data
    if kind == "MX" and body.get("priority") is None:
        raise invalid(9101, "priority is a required data field.")
    if body.get("priority") is not None:
        result["priority"] = _number(body["priority"], "priority", 65535)
    if body.get("private_routing") is not None:
        result["private_routing"] = bool(body["private_routing"])
    return result


def _ttl(body: Mapping[str, Any]) -> int:
    ttl = body.get("ttl", AUTOMATIC_TTL)
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or ttl not in {AUTOMATIC_TTL, *_TTL_RANGE}:
        raise invalid(9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic.")
    return int(ttl)


def _proxied(kind: str, body: Mapping[str, Any]) -> bool:
    proxied = bool(body.get("proxied", False))
    if proxied and kind not in _PROXIABLE:
        raise invalid(9041, "Invalid proxied mode. Record cannot be proxied")
    return proxied


def _tags(body: Mapping[str, Any]) -> list[str]:
    tags = list(body.get("tags") or [])
    if tags:
        raise invalid(9300, f"DNS record has {len(tags)} tags, exceeding the quota of 0.")
    return tags


def _comment(body: Mapping[str, Any]) -> str | None:
    comment = str(body.get("comment") or "")
    if len(comment) > _COMMENT_LIMIT:
        message = f"DNS record comment exceeds the maximum length of {_COMMENT_LIMIT} characters."
        raise ApiError(400, 9313, message)
    return comment or None


def _number(value: Any, name: str, highest: int) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != int(value)
        or not 0 <= value <= highest
    ):
        raise invalid(9102, f"{name} must be a whole number between 0 and {highest}.")
    return int(value)


def _data(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a record whose content Cloudflare computes, in stored form."""
    given = body.get("data")
    if not isinstance(given, Mapping):
        raise invalid(9101, f"data with {', '.join(_DATA_KEYS[kind])} is required for {kind} records.")
    for key in _DATA_KEYS[kind]:
        if given.get(key) is None:
            raise invalid(9101, f"{key} is a required data field.")
    data = {key: given[key] for key in _DATA_KEYS[kind]}
    if kind == "TLSA":
        data["certificate"] = str(data["certificate"]).upper()
    return data


def _text_content(kind: str, body: Mapping[str, Any]) -> str:
    content = body.get("content")
    if not isinstance(content, str) or not content:
        raise invalid(9020, f"Content for {kind} record is required.")
    return _CONTENT[kind]({"content": content})


def _a(data: Mapping[str, Any]) -> str:
    try:
        return str(ipaddress.IPv4Address(data["content"]))
    except ValueError:
        raise invalid(9005, "Content for A record is invalid. Must be a valid IPv4 address") from None


def _aaaa(data: Mapping[str, Any]) -> str:
    try:
        return str(ipaddress.IPv6Address(data["content"]))
    except ValueError:
        raise invalid(9006, "Content for AAAA record is invalid. Must be a valid IPv6 address") from None


def _target(code: int, kind: str) -> Callable[[Mapping[str, Any]], str]:
    def check(data: Mapping[str, Any]) -> str:
        content = str(data.get("content", data.get("target", "")))
        if (kind, content) == ("MX", "."):
            return content  # a null MX keeps its dot
        content = content.rstrip(".")
        if not _HOST.fullmatch(content) or content.rpartition(".")[2].isdigit():
            raise invalid(code, f"Content for {kind} record is invalid.")
        return content

    return check


def _txt(data: Mapping[str, Any]) -> str:
    content: str = data["content"]
    if not all(" " <= character <= "~" for character in content):
        raise invalid(9051, "Invalid TXT record. Record may only contain printable ASCII!")
    if len(content) > _TXT_LIMIT:
        raise invalid(9052, f"Content for TXT record must be at most {_TXT_LIMIT} characters.")
    strings = character_strings(content)
    if content.startswith('"') and all(len(string) <= _CHUNK for string in strings):
        return content
    # What is too long for one string comes back as several, which is how an endless diff begins.
    return content if len(content) <= _CHUNK and not content.startswith('"') else quoted(strings)


def character_strings(content: str) -> list[str]:
    """The strings of a TXT content, unescaped: quoted ones as given, unquoted text in pieces of 255 octets."""
    content = content.strip()
    if not content.startswith('"'):
        return [content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK)]
    strings = [re.sub(r"\\(.)", r"\1", match[1]) for match in _QUOTED.finditer(content)]
    if _QUOTED.sub("", content).strip():
        raise invalid(9007, "Content for TXT record is invalid: its quotes do not match.")
    return [string[at : at + _CHUNK] for string in strings for at in range(0, max(len(string), 1), _CHUNK)]


def quoted(strings: Iterable[str]) -> str:
    """Strings in the presentation format of RFC 1035 section 5.1."""
    return " ".join('"' + re.sub(r'(["\\])', r"\\\1", string) + '"' for string in strings)


def _srv(data: Mapping[str, Any]) -> str:
    numbers = [str(_number(data.get(key), key, 65535)) for key in ("priority", "weight", "port")]
    return " ".join([*numbers, _target(9012, "SRV")(data)])


def _caa(data: Mapping[str, Any]) -> str:
    if data.get("tag") not in {"issue", "issuewild", "iodef"}:
        raise invalid(9013, "tag must be one of issue, issuewild, iodef.")
    return f"{_number(data.get('flags'), 'flags', 255)} {data['tag']} {quoted([str(data['value'])])}"


def _tlsa(data: Mapping[str, Any]) -> str:
    numbers = [str(_number(data.get(key), key, 255)) for key in ("usage", "selector", "matching_type")]
    certificate = data["certificate"]
    if not re.fullmatch(r"([0-9A-F]{2})+", certificate):
        raise invalid(9014, "certificate must be hexadecimal.")
    return " ".join([*numbers, certificate])


_CONTENT: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "A": _a,
    "AAAA": _aaaa,
    "CNAME": _target(9007, "CNAME"),
    "MX": _target(9009, "MX"),
    "NS": _target(9008, "NS"),
    "PTR": _target(9010, "PTR"),
    "TXT": _txt,
    "SRV": _srv,
    "CAA": _caa,
    "TLSA": _tlsa,
}


def check_conflicts(new: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    """Refuse what may not stand beside the zone's other records.

    Raises:
        ApiError: an identical one exists, or one with which it cannot share its name.
    """
    same_name = [other for other in others if other["name"] == new["name"]]
    identity = ("type", "content", "priority")
    if any(all(other.get(key) == new.get(key) for key in identity) for other in same_name):
        raise ApiError(400, 81058, "An identical record already exists.")
    types = {other["type"] for other in same_name}
    if new["type"] == "CNAME" and types & _PROXIABLE:
        raise ApiError(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
    if new["type"] in _ADDRESS and "CNAME" in types:
        raise ApiError(400, 81054, "A CNAME record with that host already exists.")
    if "NS" in {new["type"], *types} and types - {new["type"]}:
        raise ApiError(400, 81056, "NS records with that host already exist.")
    if new["type"] == "TXT":
        total = sum(len(other["content"]) for other in same_name if other["type"] == "TXT") + len(new["content"])
        if total > _TXT_NAME_LIMIT:
            raise invalid(9053, f"The TXT records of one name must be at most {_TXT_NAME_LIMIT} characters together.")


def rrset(name: str, kind: str, records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The set as PowerDNS's REST API takes it: replaced by these records, or deleted when there are none."""
    found = [item for item in records if (item["name"], item["type"]) == (name, kind)]
    change: dict[str, Any] = {"name": f"{name}.", "type": kind, "changetype": "REPLACE" if found else "DELETE"}
    if found:
        # One set has one TTL (RFC 2181 section 5.2).
        change["ttl"] = min(PUBLISHED_AUTOMATIC_TTL if item["ttl"] == AUTOMATIC_TTL else item["ttl"] for item in found)
        change["records"] = [{"content": _published(item), "disabled": False} for item in found]
    return change


def _published(item: Mapping[str, Any]) -> str:
    content: str = item["content"]
    match item["type"]:
        case "TXT":
            return quoted(character_strings(content))
        case "MX":
            return f"{item['priority']} {content.rstrip('.')}."
        case "CNAME" | "NS" | "PTR" | "SRV":
            return f"{content}."
        case _:
            return content
