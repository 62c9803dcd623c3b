"""Records that are in a zone already: which stand in the way of ours, and what the operator can do about each."""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Final

from model.frozen import frozen

_ADDRESS: Final = frozenset({"A", "AAAA"})
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_KEY: Final = "._domainkey."
_LONGEST_SHOWN: Final = 60
_LONGEST_COMMENT: Final = 100
"""Of a record, on Cloudflare's free plan."""
_LONGEST_STACK: Final = 40
_DIGEST_CHARACTERS: Final = 12
_CRITICAL: Final = 128
_WITHOUT_CASE: Final = frozenset({"certificate", "tag", "target"})
"""Parts of a record: the digest of a TLSA record is in hexadecimal digits."""
_KNOWN_TAGS: Final = frozenset({"issue", "issuewild", "iodef"})
_LEFT: Final = "made by this stack for {resource}, which is created now"
_SHARED: Final = {
    "MX": "the domain's mail would go there too (RFC 5321 §5.1)",
    "SRV": "mail programs would go there too (RFC 2782)",
}


@frozen
class Wanted:
    """A record of ours that is not there yet."""

    resource: str
    """Its name in the stack."""
    name: str
    type: str
    content: str | None
    """None while a preview cannot know it, or where `data` has it."""
    data: Mapping[str, object] = field(default_factory=dict)
    """The parts of an SRV, TLSA or CAA record, as Cloudflare takes them."""


@frozen
class Existing:
    """A record of the zone."""

    id: str
    """As Pulumi imports it: <zone id>/<record id>."""
    name: str
    type: str
    content: str
    data: Mapping[str, object] = field(default_factory=dict)
    comment: str = ""


@frozen
class Conflict:
    """A record that stands in the way of one of ours."""

    wanted: Wanted
    existing: Existing
    why: str
    left: bool
    """Whether this stack made it for the same resource, and the state does not know it."""

    @property
    def same_type(self) -> bool:
        """Whether the record can become ours: of another type it would be another record."""
        return self.wanted.type == self.existing.type


@frozen
class Host:
    """What tells our own records from foreign ones."""

    stack: str
    """Its name is in the comments of our records."""
    addresses: Collection[str]
    domains: Collection[str]
    """The names of the zones."""
    adopted: Collection[str]
    """Ids of records that the operator handed over."""


def comment(stack: str, resource: str) -> str:
    """Return the comment of a record: the zone's owner sees who made it, and we see for which resource.

    What is too long ends in a digest, so that two resources never have the same comment.
    """
    mark = _mark(stack)
    return f"{mark} {_shortened(resource, _LONGEST_COMMENT - len(mark) - 1)}"


def _mark(stack: str) -> str:
    return f"mailhost {_shortened(stack, _LONGEST_STACK)}"


def _unnamed(stack: str) -> str:
    """Return the comment of former versions, which named no resource."""
    return f"mailhost {stack}"[:_LONGEST_COMMENT]


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{text[: most - len(digest) - 1]}~{digest}"


def conflict(wanted: Wanted, existing: Existing, host: Host) -> Conflict | None:
    """Say why `existing` and `wanted` cannot stand beside each other, or that they can.

    `wanted` is about to be created: a record that this stack made for it before is stale, whatever its name and content
    are. The state was lost, or an update was cut off between making the record and noting that.
    """
    if existing.id in host.adopted:
        return None
    stale = Conflict(wanted=wanted, existing=existing, why=_LEFT.format(resource=wanted.resource), left=True)
    if existing.comment == comment(host.stack, wanted.resource):
        return stale
    if existing.name.lower() != wanted.name.lower() or existing.comment.startswith(f"{_mark(host.stack)} "):
        # A record that this stack made for another resource stays or goes with that one.
        return None
    same = _same(wanted, existing)
    why = "this very record is there already" if same else _why(wanted, existing, host)
    if not why:
        return None
    if existing.comment != _unnamed(host.stack):
        return Conflict(wanted=wanted, existing=existing, why=why, left=False)
    # Of another type it is an earlier form, which this update withdraws.
    return stale if wanted.type == existing.type else None


def _same(wanted: Wanted, existing: Existing) -> bool:
    if wanted.type != existing.type:
        return False
    if wanted.data:
        return all(_part(name, existing.data.get(name)) == _part(name, part) for name, part in wanted.data.items())
    if wanted.content is None:
        return False
    if wanted.type == "TXT":
        # The base64 of a key has case.
        return _text(wanted.content) == _text(existing.content)
    return _name(wanted.content) == _name(existing.content)


def _why(wanted: Wanted, existing: Existing, host: Host) -> str:
    types = {wanted.type, existing.type}
    why = ""
    if types == {"CNAME"}:
        why = "mail programs and senders would go there (RFC 1034 §3.6.2)"
    elif "CNAME" in types:
        # At a zone's own name Cloudflare answers with the target's addresses, so only these collide.
        if existing.type != "CNAME" or wanted.name not in host.domains or wanted.type in _ADDRESS:
            why = f"a CNAME stands alone (RFC 1034 §3.6.2), and {wanted.type} is needed here"
    elif types <= _ADDRESS:
        # The host's other address may have been published by an older version of this program.
        if len(types) == 1 or existing.content.lower() not in host.addresses:
            why = "connections would go there too"
    elif len(types) == 1:
        special = {"TXT": _why_text, "CAA": _why_authority}.get(wanted.type)
        why = special(wanted, existing) if special else _SHARED.get(wanted.type, "")
    return why


def _why_text(wanted: Wanted, existing: Existing) -> str:
    if _KEY in wanted.name:
        return "a selector has one key (RFC 6376 §3.6.2.2)"
    kind = _version(wanted.content or "")
    if not kind or _version(existing.content) != kind:
        return ""
    return {
        "v=spf1": "a second SPF record makes both void (RFC 7208 §4.5)",
        "v=dmarc1": "a second DMARC record makes both void (RFC 7489 §6.6.3)",
        "v=stsv1": "a second MTA-STS record makes both void (RFC 8461 §3.1)",
    }.get(kind, f"a second {kind} record makes both void")


def _why_authority(wanted: Wanted, existing: Existing) -> str:
    flags, tag, _ = (*existing.content.lower().split(maxsplit=2), "", "", "")[:3]
    wanted_tag = wanted.data.get("tag")
    if tag == wanted_tag:
        return "whom it names could have certificates of the host as well (RFC 8659 §4.2)"
    # Reported once, beside the record that matters more.
    if wanted_tag == "issue" and tag not in _KNOWN_TAGS and flags.isdigit() and int(flags) >= _CRITICAL:
        return "authorities that do not know the tag must not issue anything (RFC 8659 §4.1)"
    return ""


def _version(content: str) -> str:
    text = _text(content).lower()
    return re.split(r"[;\s]", text, maxsplit=1)[0] if text.startswith("v=") else ""


def _text(content: str) -> str:
    """Return the text of a TXT record, whose strings are joined."""
    strings = _STRING.findall(content)
    return "".join(strings) if strings else content


def _name(content: str) -> str:
    """Return a host name or an address, which have no case."""
    return content.lower().rstrip(".")


def _part(name: str, value: object) -> object:
    # The others are numbers, and a CAA record's value, in which an account's URL has case.
    return _name(value) if isinstance(value, str) and name in _WITHOUT_CASE else value


def taken_back(left: Conflict) -> str:
    """Say what becomes of a record that this stack made and the state does not know."""
    return f"{_described(left.existing)}: {left.why}; it is deleted and created again"


def not_taken_back(left: Conflict, error: object) -> str:
    """Say that it is still in the way, and why."""
    return (
        f"{_described(left.existing)}: {left.why}, and cannot be deleted ({error}); delete it at Cloudflare, then run "
        "`pulumi up` again"
    )


def report(conflicts: Collection[Conflict], host: Host) -> str:
    """Say in a line for each foreign record what stands in the way and what can be done. Nothing was changed."""
    offered: set[str] = set()
    lines = []
    for found in sorted(conflicts, key=lambda found: (found.existing.name, found.existing.type, found.existing.id)):
        lines.append(f"  {_described(found.existing)}: {found.why}; {_advice(found, host, offered)}")
    return "\n".join(
        ["These records are in the zone and not this stack's; nothing was changed (docs/operations.md):", *lines]
    )


def _described(record: Existing) -> str:
    content = record.content if len(record.content) <= _LONGEST_SHOWN else f"{record.content[:_LONGEST_SHOWN]}…"
    return f"{record.name} {record.type} {content}"


def _advice(found: Conflict, host: Host, offered: set[str]) -> str:
    wanted, ways = found.wanted, []
    at_domain = wanted.name in host.domains
    key = _KEY in wanted.name and not wanted.name.startswith("*.")
    # With a foreign key, address or CAA in its place, mail would be signed in vain and no certificate issued.
    useful = not key and wanted.type != "CAA" and (wanted.type not in _ADDRESS or at_domain)
    if found.same_type and useful and wanted.resource not in offered:
        offered.add(wanted.resource)
        ways.append(f"adopt it: pulumi config set --path 'dns.adopt[\"{wanted.resource}\"]' {found.existing.id}")
    if wanted.type in _ADDRESS and at_domain:
        ways.append("leave it its name: pulumi config set --path dns.apex false")
    if wanted.type in _ADDRESS and not at_domain:
        ways.append("choose another hostname")
    if key:
        ways.append("choose another selector (dkim.selector)")
    if wanted.type == "CAA":
        ways.append("do without ours: pulumi config set --path caa.enabled false")
    return ", or ".join([*ways, "delete it at Cloudflare"])


def ours(comment: str, stack: str) -> bool:
    """Return whether a record's comment says that this stack made it."""
    return comment == _unnamed(stack) or comment.startswith(f"{_mark(stack)} ")
