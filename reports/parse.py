"""Reads reports out of mails: DMARC aggregate reports (RFC 7489 appendix C, RFC 9990), SMTP TLS reports (RFC 8460).

Whoever knows the address can send one, so a mail is hostile until it is read: its size, what it unpacks to, XML
entities and nesting are limited. What cannot be read is named.
"""

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.errors import MessageError
from email.policy import default
from typing import Annotated, Final, Literal

from dmarc_report.exceptions import DMARCParseError
from dmarc_report.parser import DMARCParser, ParserLimits
from pydantic import BaseModel, ConfigDict, Field, ValidationError

LARGEST: Final = 10_000_000
"""Octets that one attachment may unpack to: some 20 000 sources."""
_LIMITS: Final = ParserLimits(max_input_bytes=LARGEST, max_decompressed_bytes=LARGEST, max_records=20_000)
_MOST_ATTACHMENTS: Final = 10
_MOST_PARTS: Final = 20
"""Nested parts cost Python's parser the square of their number."""
_MOST_POLICIES: Final = 1000
_GZIP: Final = b"\x1f\x8b"
_LONGEST: Final = 120
_KINDS: Final = frozenset(
    {
        "application/gzip",
        "application/json",
        "application/octet-stream",
        "application/tlsrpt+gzip",
        "application/tlsrpt+json",
        "application/x-gzip",
        "application/x-zip-compressed",
        "application/xml",
        "application/zip",
        "text/xml",
    }
)
_Count = Annotated[int, Field(ge=0, le=1 << 53)]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Mail that one address sent in the name of a domain, as one receiver judged it."""

    domain: str
    source: str
    count: int
    dkim: bool
    """A valid signature of the domain itself."""
    spf: bool
    """A permitted sender, and the domain in the envelope."""
    disposition: str
    """What the receiver did: none, quarantine or reject."""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Connections of one sender to a domain's mail servers."""

    domain: str
    policy: str
    """What it went by: sts, tlsa or no-policy-found."""
    successes: int
    failures: int
    reasons: tuple[tuple[str, int], ...]
    """Kind of failure, and its number of connections."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One report."""

    reporter: str
    id: str
    begin: datetime
    end: datetime
    sources: tuple[Source, ...] = ()
    tls: tuple[Tls, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A mail that looked like a report and is none that can be read."""

    sender: str
    reason: str


class _Rfc8460(BaseModel):
    """What §4.4 says in JSON; members that it does not name are ignored."""

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"), frozen=True)


class _Period(_Rfc8460):
    start_datetime: datetime
    end_datetime: datetime


class _Policy(_Rfc8460):
    policy_type: Literal["tlsa", "sts", "no-policy-found"]
    policy_domain: str


class _Summary(_Rfc8460):
    total_successful_session_count: _Count
    total_failure_session_count: _Count


class _Failure(_Rfc8460):
    result_type: str
    failed_session_count: _Count = 0


class _Judged(_Rfc8460):
    policy: _Policy
    summary: _Summary
    failure_details: Annotated[tuple[_Failure, ...], Field(max_length=_MOST_POLICIES)] = ()


class _TlsReport(_Rfc8460):
    organization_name: str = ""
    report_id: str
    date_range: _Period
    policies: Annotated[tuple[_Judged, ...], Field(max_length=_MOST_POLICIES)]


def read(mail: bytes) -> Iterator[Report | Unreadable]:
    """Yield the reports of one mail, and what is wrong with it."""
    sender, attachments = _opened(mail)
    if not attachments:
        yield Unreadable(sender=sender, reason="has no attachment that could be a report")
    if len(attachments) > _MOST_ATTACHMENTS:
        yield Unreadable(sender=sender, reason=f"has more than {_MOST_ATTACHMENTS} attachments")
    for content in attachments[:_MOST_ATTACHMENTS]:
        try:
            yield _parse(content)
        except _UnreadableError as error:
            yield Unreadable(sender=sender, reason=shown(str(error)))


def _opened(mail: bytes) -> tuple[str, list[bytes]]:
    """Return who sent the mail, and what is attached to it."""
    if mail.lower().count(b"multipart/") > _MOST_PARTS:
        return "?", []
    try:
        message = message_from_bytes(mail, policy=default)
        payloads = [part.get_payload(decode=True) for part in message.walk() if part.get_content_type() in _KINDS]
        return shown(str(message.get("From", "?"))), [payload for payload in payloads if isinstance(payload, bytes)]
    except (MessageError, RecursionError, ValueError, LookupError, AttributeError, TypeError):
        # Python's parser gives up on some broken mails in one of these ways.
        return "?", []


class _UnreadableError(Exception):
    pass


def _parse(content: bytes) -> Report:
    """Read one attachment: XML or JSON, plain, with gzip, or XML in a ZIP archive."""
    plain = _unzipped(content) if content.startswith(_GZIP) else content
    try:
        return _tls(plain) if plain.lstrip()[:1] == b"{" else _dmarc(plain)
    except DMARCParseError as error:
        raise _UnreadableError(f"is no DMARC report: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _UnreadableError(f"is no TLS report: {place} {first['msg']}".replace("  ", " ")) from None


def _unzipped(content: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            plain = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error):
        raise _UnreadableError("holds a broken gzip file") from None
    if len(plain) > LARGEST:
        raise _UnreadableError(f"unpacks to more than {LARGEST} octets")
    return plain


def _dmarc(content: bytes) -> Report:
    found = DMARCParser.parse_bytes(content, limits=_LIMITS)
    about = found.report_metadata
    return Report(
        reporter=shown(about.org_name),
        id=shown(about.report_id),
        begin=about.date_range.begin_datetime,
        end=about.date_range.end_datetime,
        sources=tuple(
            Source(
                domain=shown(found.policy_published.domain.lower()),
                source=record.source_ip,
                count=record.count,
                dkim=record.policy_evaluated.dkim == "pass",
                spf=record.policy_evaluated.spf == "pass",
                disposition=str(record.policy_evaluated.disposition),
            )
            for record in found.records
        ),
    )


def _tls(content: bytes) -> Report:
    found = _TlsReport.model_validate_json(content)
    return Report(
        reporter=shown(found.organization_name or "?"),
        id=shown(found.report_id),
        begin=found.date_range.start_datetime,
        end=found.date_range.end_datetime,
        tls=tuple(
            Tls(
                domain=shown(judged.policy.policy_domain.lower()),
                policy=judged.policy.policy_type,
                successes=judged.summary.total_successful_session_count,
                failures=judged.summary.total_failure_session_count,
                reasons=_reasons(judged.failure_details),
            )
            for judged in found.policies
        ),
    )


def _reasons(details: Sequence[_Failure]) -> tuple[tuple[str, int], ...]:
    return tuple((shown(detail.result_type), detail.failed_session_count) for detail in details)


def shown(text: str) -> str:
    """Return a stranger's text for a terminal: one line, not long, nothing that steers it."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"
