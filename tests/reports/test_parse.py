"""Reports are read as they are sent, and a hostile one harms nobody."""

import gzip
import json
import resource
import time
from typing import Any

import pytest

from reports.parse import LARGEST, Report, Source, Tls, Unreadable, read, shown
from tests.reports.samples import BOMB, DOMAIN, MICROSOFT, TLS, dmarc, gzipped, mail, row, tls_mail, zipped


def only(content: bytes, kind: str = "application/gzip") -> Report | Unreadable:
    (found,) = read(mail(content, kind).as_bytes())
    return found


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzipped(dmarc()), "application/gzip"),
        (zipped(dmarc()), "application/zip"),
        (zipped(dmarc()), "application/x-zip-compressed"),
        (dmarc().encode(), "text/xml"),
        (gzipped(dmarc()), "application/octet-stream"),  # what a gateway makes of it
    ],
    ids=["gzip", "zip", "x-zip", "plain", "unnamed"],
)
def test_a_dmarc_report_is_read_however_it_is_packed(content: bytes, kind: str) -> None:
    report = only(content, kind)
    assert isinstance(report, Report)
    assert (report.reporter, report.id, report.begin.isoformat()) == (
        "google.com",
        "5962394838838843823",
        "2026-11-22T00:00:00+00:00",
    )
    assert report.sources == (
        Source(domain=DOMAIN, source="203.0.113.13", count=12, dkim=True, spf=True, disposition="none"),
        Source(domain=DOMAIN, source="198.51.100.66", count=3, dkim=False, spf=False, disposition="quarantine"),
    )


def test_microsofts_form_is_read() -> None:
    report = only(gzipped(MICROSOFT))
    assert isinstance(report, Report)
    assert (report.reporter, [source.count for source in report.sources]) == ("Enterprise Outlook", [5])


def test_a_tls_report_is_read() -> None:
    (report,) = read(tls_mail().as_bytes())
    assert isinstance(report, Report)
    assert report.tls == (
        Tls(
            domain=DOMAIN,
            policy="sts",
            successes=5326,
            failures=303,
            reasons=(("certificate-expired", 100), ("starttls-not-supported", 203)),
        ),
        Tls(domain=DOMAIN, policy="no-policy-found", successes=7, failures=0, reasons=()),
    )


HOSTILE = {
    "gzip bomb": (gzip.compress(b"<" + b" " * (LARGEST + 1)), f"unpacks to more than {LARGEST} octets"),
    "zip bomb": (zipped(" " * (LARGEST + 1)), "size limit"),
    "gzip thrice": (gzip.compress(gzip.compress(gzipped(dmarc()))), "Nested"),
    "zip of zip": (zipped("PK", "inner.zip"), "Nested"),
    "many entities": (dmarc().replace("<feedback>", BOMB + "<feedback>").encode(), "not safe"),
    "a file of ours": (
        dmarc()
        .replace("<feedback>", '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><feedback>')
        .replace("google.com", "&f;")
        .encode(),
        "not safe",
    ),
    "deep XML": (b"<a>" * 200_000, "not safe"),
    "many rows": (dmarc(rows=row("203.0.113.13", 1) * 20_001).encode(), "limit"),
    "negative count": (dmarc(rows=row("203.0.113.13", -1)).encode(), "no DMARC report"),
    "no address": (dmarc(rows=row("<script>", 1)).encode(), "not safe"),
    "deep JSON": (b'{"a":' * 100_000, "no TLS report"),
    "TLS report of strings": (json.dumps(TLS | {"policies": "none"}).encode(), "no TLS report: policies"),
    "counts beyond reason": (json.dumps(TLS).replace("5326", "9" * 30).encode(), "no TLS report"),
    "broken gzip": (b"\x1f\x8b" + b"x" * 100, "broken gzip"),
    "cut off": (gzipped(dmarc())[:-20], "broken gzip"),
    "empty": (b"", "no DMARC report"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_report_is_named_and_costs_little(name: str) -> None:
    content, reason = HOSTILE[name]
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = only(content)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert isinstance(found, Unreadable), found
    assert reason in found.reason
    assert found.sender == "noreply-dmarc-support@google.com"
    assert after.ru_utime - before.ru_utime < 5
    assert after.ru_maxrss - before.ru_maxrss < 500_000  # KiB


def test_one_bad_attachment_does_not_hide_a_good_one() -> None:
    message = mail(b"\x1f\x8bbroken")
    message.add_attachment(gzipped(dmarc()), maintype="application", subtype="gzip", filename="good.xml.gz")
    assert [type(found) for found in read(message.as_bytes())] == [Unreadable, Report]


BROKEN = {
    "empty": b"",
    "nothing attached": b"From: x\n\nReport Domain: nothing attached\n",
    "nested": b"Content-Type: multipart/mixed; boundary=a\n\n"
    + b"--a\nContent-Type: multipart/mixed; boundary=a\n\n" * 50_000,
    "no base64": b"Content-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n=\xff\xfe!!",
    "broken headers": b"From: =?utf-8?b?//8=?= <\xff>\nContent-Type: ;;;\n\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_a_mail_is_it_is_only_named(name: str) -> None:
    started = time.process_time()
    found = [*read(BROKEN[name])]
    assert found
    assert all(isinstance(item, Unreadable) for item in found)
    assert time.process_time() - started < 1


def test_a_strangers_text_does_not_steer_the_terminal() -> None:
    report = only(dmarc(org="evil\u202e&#x9b;31m" + "x" * 500).encode(), "text/xml")
    name: Any = report.reporter if isinstance(report, Report) else report.reason
    assert name.isprintable()
    assert len(name) < 130
    assert shown("a\x1b[31mb\nc") == "a [31mb c"
