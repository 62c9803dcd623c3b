"""Adds reports up and shows them: tables for people, JSON for machines."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.parse import Report, Unreadable

_STYLES: Final = {True: "green", False: "bold red"}


@dataclass(frozen=True, kw_only=True)
class SourceLine:
    """What one address sent in a domain's name, by all receivers together."""

    domain: str
    source: str
    ours: bool
    """One of the host's own addresses."""
    count: int
    spf: bool
    dkim: bool
    disposition: str
    reporters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TlsLine:
    """How connections to a domain's mail servers went, by policy."""

    domain: str
    policy: str
    successes: int
    failures: int
    reasons: dict[str, int]
    reporters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All reports together."""

    reports: int
    dmarc: tuple[SourceLine, ...]
    tls: tuple[TlsLine, ...]
    unreadable: tuple[Unreadable, ...]


def summarise(found: Iterable[Report | Unreadable], *, ours: Collection[str]) -> Summary:
    """Add up. A report that came twice counts once (its reporter and id are the same)."""
    everything = list(found)
    once = {(report.reporter, report.id): report for report in everything if isinstance(report, Report)}
    counts: Counter[tuple[str, str, bool, bool, str]] = Counter()
    good: Counter[tuple[str, str]] = Counter()
    bad: Counter[tuple[str, str]] = Counter()
    reasons: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    senders: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for report in once.values():
        for sent in report.sources:
            judged = (sent.domain, sent.source, sent.spf, sent.dkim, sent.disposition)
            counts[judged] += sent.count
            senders[tuple(map(str, judged))].add(report.reporter)
        for seen in report.tls:
            policy = (seen.domain, seen.policy)
            good[policy] += seen.successes
            bad[policy] += seen.failures
            senders[policy].add(report.reporter)
            for reason, number in seen.reasons:
                reasons[policy][reason] += number
    return Summary(
        reports=len(once),
        dmarc=tuple(
            SourceLine(
                domain=judged[0],
                source=judged[1],
                ours=judged[1] in ours,
                count=count,
                spf=judged[2],
                dkim=judged[3],
                disposition=judged[4],
                reporters=tuple(sorted(senders[tuple(map(str, judged))])),
            )
            for judged, count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0]))
        ),
        tls=tuple(
            TlsLine(
                domain=policy[0],
                policy=policy[1],
                successes=good[policy],
                failures=bad[policy],
                reasons=dict(reasons[policy].most_common()),
                reporters=tuple(sorted(senders[policy])),
            )
            for policy in sorted(good)
        ),
        unreadable=tuple(item for item in everything if isinstance(item, Unreadable)),
    )


def as_json(stack: str, summary: Summary) -> str:
    """Return the sums as one JSON document."""
    return json.dumps({"stack": stack, **asdict(summary)}, indent=2, ensure_ascii=False)


def show(title: str, summary: Summary, out: TextIO) -> None:
    """Print a table of senders, one of TLS, and what could not be read."""
    console = Console(file=out, highlight=False)
    console.print(Text(title))
    if summary.dmarc:
        console.print(_senders(summary))
        if any(line.ours for line in summary.dmarc):
            console.print(Text("bold: this host", style="dim"))
    if summary.tls:
        console.print(_connections(summary))
    for item in summary.unreadable:
        console.print(Text(f"not read: the mail of {item.sender} {item.reason}", style="yellow"))


def _senders(summary: Summary) -> Table:
    table = Table("domain", title="DMARC: who sends in the domain's name", title_justify="left")
    table.add_column("source", no_wrap=True)
    table.add_column("mails", justify="right")
    for column in ("SPF", "DKIM", "applied", "reported by"):
        table.add_column(column, overflow="fold")
    for line in summary.dmarc:
        table.add_row(
            Text(line.domain),
            Text(line.source, style="bold" if line.ours else ""),
            str(line.count),
            _aligned(line.spf),
            _aligned(line.dkim),
            Text(line.disposition, style=_STYLES[line.disposition in {"none", "pass"}]),
            Text(", ".join(line.reporters)),
        )
    return table


def _aligned(passed: bool) -> Text:
    return Text("aligned" if passed else "fail", style=_STYLES[passed])


def _connections(summary: Summary) -> Table:
    table = Table("domain", "policy", title="TLS: how others connect", title_justify="left")
    for column in ("successes", "failures"):
        table.add_column(column, justify="right")
    for column in ("reasons", "reported by"):
        table.add_column(column, overflow="fold")
    for line in summary.tls:
        table.add_row(
            Text(line.domain),
            Text(line.policy),
            str(line.successes),
            Text(str(line.failures), style=_STYLES[not line.failures]),
            Text(", ".join(f"{reason} ({count})" for reason, count in line.reasons.items())),
            Text(", ".join(line.reporters)),
        )
    return table
