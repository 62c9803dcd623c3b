"""Reports are added up by domain and source, and shown to people and machines."""

import io
import json

import pytest

from reports.mail import chosen, query
from reports.parse import read
from reports.summary import as_json, show, summarise
from tests.reports.samples import DOMAIN, MICROSOFT, dmarc, gzipped, mail, tls_mail

OURS = {"203.0.113.13"}
MAILS = [
    mail(gzipped(dmarc())),
    mail(gzipped(dmarc())),  # sent twice
    mail(gzipped(MICROSOFT)),
    tls_mail(),
    mail(b"\x1f\x8bbroken"),
]
SUMMARY = summarise((found for one in MAILS for found in read(one.as_bytes())), ours=OURS)


def test_the_same_report_counts_once_and_sources_add_up() -> None:
    assert SUMMARY.reports == 3
    ours, stranger = SUMMARY.dmarc
    assert (ours.source, ours.ours, ours.count) == ("203.0.113.13", True, 17)
    assert (ours.spf, ours.dkim, ours.disposition) == (True, True, "none")
    assert ours.reporters == ("Enterprise Outlook", "google.com")
    assert (stranger.ours, stranger.count, stranger.spf, stranger.disposition) == (False, 3, False, "quarantine")


def test_tls_failures_keep_their_reasons() -> None:
    none, sts = SUMMARY.tls
    assert (none.policy, none.successes, none.failures) == ("no-policy-found", 7, 0)
    assert (sts.successes, sts.failures) == (5326, 303)
    assert sts.reasons == {"starttls-not-supported": 203, "certificate-expired": 100}


def test_people_read_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    out = io.StringIO()
    show("3 reports", SUMMARY, out)
    text = " ".join(out.getvalue().split())
    for words in ("203.0.113.13", "17", "aligned", "quarantine", "5326", "starttls-not-supported", "broken gzip"):
        assert words in text


def test_machines_read_json() -> None:
    document = json.loads(as_json("prod", SUMMARY))
    assert (document["stack"], document["reports"]) == ("prod", 3)
    assert document["dmarc"][0]["domain"] == DOMAIN
    assert document["tls"][1]["reasons"]["certificate-expired"] == 100
    assert document["unreadable"][0]["sender"] == "noreply-dmarc-support@google.com"


def test_the_newest_mails_are_fetched_and_not_more_than_fit() -> None:
    listed = [
        {"mailbox-guid": "g", "uid": str(day), "size.physical": "20000000", "date.saved": f"2026-11-{day:02} 10:00:00"}
        for day in range(1, 10)
    ]
    assert chosen(listed) == [("g", "9"), ("g", "8")]


def test_the_host_is_asked_for_reports_only() -> None:
    assert query(7)[:4] == ["mailbox", "*", "savedsince", "7d"]
