"""The doctor's look from outside: which questions there are, and which judge gets which answers."""

import contextlib
import datetime
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from doctor import checks, expected, spf
from doctor.expected import Wanted
from doctor.finding import Finding, ok, skipped, wrong
from doctor.judge import doors as judge_doors
from doctor.judge import host as judge_host
from doctor.judge import mailbox as judge_mailbox
from doctor.judge import names as judge_names
from doctor.observe import doors, host, mailbox, names, web
from doctor.observe import lent as borrowed
from doctor.observe.names import Answer, Names, Server
from doctor.options import Options
from doctor.patience import Late, Work, reason
from doctor.ports import Port, ports
from doctor.stack import Stack
from model import mta_sts, records
from model import web as web_model
from model.constants import SMTP, certificate
from model.preflight import Check, needed_memory
from model.settings import Settings

_PATIENCE_SECONDS: Final = 30
"""How long the test mail may take."""
_NAMED: Final = 4
"""How many records a line can hold."""
_POSTSCREEN: Final = 6
"""Seconds postscreen(8) lets a stranger wait for the greeting; a timeout comes on top."""


def addresses(settings: Settings) -> tuple[str, ...]:
    """Return the host's public addresses."""
    return (settings.ipv4, settings.ipv6) if settings.ipv6 else (settings.ipv4,)


def examine(stack: Stack, options: Options) -> list[Finding]:
    """Look at everything and judge it. Raises nothing; what was too late or could not be asked is skipped."""
    with contextlib.ExitStack() as until_the_end:
        if options.borrow:
            try:
                lent = until_the_end.enter_context(borrowed.mailbox(stack.settings, timeout=options.timeout))
                options = replace(options, account=lent)
            except borrowed.LendingError as error:
                options = replace(options, not_lent=f"the host lends no account: {error}")
        return list(_Examination(stack=stack, options=options).findings())


@dataclass(frozen=True, kw_only=True)
class _Examination:
    stack: Stack
    options: Options

    @property
    def _settings(self) -> Settings:
        return self.stack.settings

    def findings(self) -> Iterator[Finding]:
        work = Work(deadline=time.monotonic() + self.options.deadline)
        wanted = expected.wanted(self.stack)
        zones = expected.zone_names(self._settings)
        looker = self.options.names
        # First which servers to ask, then everything else at once.
        found = work.all({zone: partial(looker.servers, zone) for zone in zones})
        servers = {zone: value if isinstance(value, list) else [] for zone, value in found.items()}
        answers = work.all(dict(self._questions(wanted, servers)))
        yield self._deployed()
        now = datetime.datetime.now(datetime.UTC)
        yield judge_names.dkim_rotation(self.stack.name, self._settings.dkim.rotation, self.stack.dkim, now)
        yield from self._records(wanted, servers, answers)
        yield from self._authorities(wanted, answers)
        yield from self._addresses(answers)
        yield from self._ports(wanted, answers)
        yield from self._account(answers)
        yield from self._host(answers)

    # What is asked.

    def _questions(
        self, wanted: tuple[Wanted, ...], servers: Mapping[str, list[tuple[str, str]]]
    ) -> Iterator[tuple[str, Callable[[], Any]]]:
        look, timeout = self.options.names, self.options.timeout
        settings = self._settings
        # The slowest first.
        if self.options.ssh:
            questions = host.Questions(
                certificate=certificate(settings.hostname), deployed=self.stack.deployed.described
            )
            yield "host", partial(host.ask, settings, questions, timeout=timeout, patience=3 * timeout)
        yield from self._account_questions()
        yield from self._port_questions()
        silent = {domain.name for domain in settings.silent}
        for zone, known in servers.items():
            asked = [(record.name, record.type) for record in wanted if record.zone == zone]
            for name, address in known:
                yield (
                    f"server {zone} {address or name}",
                    partial(names.ask_server, zone, name, address, asked, timeout=timeout),
                )
            yield f"signed {zone}", partial(names.signed, look, zone)
            if zone in silent:
                yield f"exchangers {zone}", partial(look.ask, zone, "MX")
                yield f"spf {zone}", partial(_spf, look, zone, addresses(settings))
                continue
            yield f"sts {zone}", partial(look.ask, f"_mta-sts.{zone}", "TXT")
            yield f"policy {zone}", partial(web.policy, zone, context=self.options.context, timeout=timeout)
            yield f"spf {zone}", partial(_spf, look, zone, addresses(settings))
        if _issue(wanted):
            for name in _certified(settings):
                yield f"authorities {name}", partial(names.authorities, look, name)
        yield "tlsa", partial(look.ask, f"_25._tcp.{settings.hostname}", "TLSA")
        for address in addresses(settings):
            yield f"reverse {address}", partial(names.reverse, look, address)
            for blocklist in self.options.blocklists:
                yield f"listing {address} {blocklist}", partial(names.listing, look, address, blocklist)
        for name in records.permissions_to_ask_for(settings):
            yield f"permission {name}", partial(look.ask, name, "TXT")
        yield "here25", partial(_here25, look, self.options.port25_targets, timeout)

    def _port_questions(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        settings, options = self._settings, self.options
        visitor = doors.Visitor(
            hostname=settings.hostname, context=options.context, name=options.name, timeout=options.timeout
        )
        for port in ports(settings):
            # Port 25 keeps strangers waiting before it greets.
            patient = replace(visitor, timeout=options.timeout + (_POSTSCREEN if port.number == SMTP else 0))
            for address in addresses(settings):
                yield f"door {port.number} {address}", partial(doors.knock, port, address, patient)
            if port.on:
                outdated = replace(patient, context=options.outdated)
                yield f"floor {port.number}", partial(doors.floor, port, settings.ipv4, outdated)
        for form in doors.relay_forms(settings.domain, settings.hostname, options.stranger):
            yield (
                f"relay {form[0]}",
                partial(doors.relay, settings.ipv4, form, name=options.name, timeout=options.timeout + _POSTSCREEN),
            )

    def _account_questions(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        account = self._given_account()
        if account is None:
            return
        out, back = self._ways()
        if out and back:
            patience = min(_PATIENCE_SECONDS, self.options.deadline / 2)
            lookup = partial(_texts, self.options.names)
            yield "round trip", partial(mailbox.round_trip, account, out, back, lookup, patience=patience)
        for port in self._login_ports():
            yield f"login {port.number}", partial(mailbox.log_in, account, port)

    def _given_account(self) -> mailbox.Account | None:
        if not self.options.account:
            return None
        address, password = self.options.account
        return mailbox.Account(
            host=self._settings.hostname,
            address=address,
            password=password,
            context=self.options.context,
            timeout=self.options.timeout,
        )

    def _login_ports(self) -> list[Port]:
        return [port for port in ports(self._settings) if port.on and port.protocol in {"submission", "imap", "pop3"}]

    def _ways(self) -> tuple[Port | None, Port | None]:
        """The best port to send by, and the best one to read by: TLS from the start where it is on."""
        best: dict[str, Port] = {}
        for port in sorted(self._login_ports(), key=lambda port: port.implicit):
            best[port.protocol] = port
        return best.get("submission"), best.get("imap")

    # What it means.

    def _deployed(self) -> Finding:
        missing = expected.undeployed(self.stack)
        if missing:
            return wrong(
                checks.DEPLOYED,
                self.stack.name,
                f"{len(missing)} records differ",
                f"the settings ask for {', '.join(missing[:_NAMED])}{'…' if len(missing) > _NAMED else ''}",
            )
        return ok(checks.DEPLOYED, self.stack.name, f"{len(self.stack.published)} records")

    def _records(
        self, wanted: tuple[Wanted, ...], servers: Mapping[str, list[tuple[str, str]]], answers: Mapping[str, Any]
    ) -> Iterator[Finding]:
        for zone, known in servers.items():
            asked = [answers[f"server {zone} {address or name}"] for name, address in known]
            seen = [answer for answer in asked if isinstance(answer, Server)]
            yield from judge_names.delegation(zone, seen)
            for record in wanted:
                if record.zone == zone:
                    yield from judge_names.record(record, seen)
            yield from _each(checks.DNSSEC, zone, answers[f"signed {zone}"], judge_names.dnssec)
            silent = any(domain.name == zone for domain in self._settings.silent)
            yield from (self._silence(zone, answers) if silent else self._policies(zone, wanted, seen, answers))
        for name in records.permissions_to_ask_for(self._settings):
            judge = partial(judge_names.permission, name)
            yield from _each(checks.PERMISSION, name, answers[f"permission {name}"], judge)

    def _silence(self, zone: str, answers: Mapping[str, Any]) -> Iterator[Finding]:
        """Judge what the world makes of a domain without mail."""
        exchangers, policies = answers[f"exchangers {zone}"], answers[f"spf {zone}"]
        if isinstance(exchangers, Answer) and isinstance(policies, SenderPolicy):
            verdicts = (*policies.verdicts.values(), policies.others)
            yield judge_names.silence(zone, exchangers, policies.records, verdicts)
        else:
            yield skipped(checks.SILENCE, zone, reason(policies if isinstance(exchangers, Answer) else exchangers))

    def _policies(
        self, zone: str, wanted: tuple[Wanted, ...], seen: list[Server], answers: Mapping[str, Any]
    ) -> Iterator[Finding]:
        """Judge what lies in TXT records more closely than by their text."""
        policies = answers[f"spf {zone}"]
        if isinstance(policies, SenderPolicy):
            yield judge_names.sender_policy(zone, policies.records, policies.verdicts, policies.others)
        else:
            yield skipped(checks.SPF, zone, reason(policies))
        for record in wanted:
            if record.zone != zone or record.type != "TXT":
                continue
            texts = _texts_of(seen, record)
            if record.name == f"_dmarc.{zone}":
                yield judge_names.dmarc(zone, texts)
            elif record.name == f"_smtp._tls.{zone}":
                yield judge_names.tls_reports(zone, texts)
            elif "._domainkey." in record.name:
                yield judge_names.dkim(record.name, texts, record.values)
        record, fetched = answers[f"sts {zone}"], answers[f"policy {zone}"]
        if isinstance(record, Answer) and isinstance(fetched, tuple):
            policy = mta_sts.policy(self._settings) if self._settings.mta_sts.enabled else ""
            yield judge_doors.mta_sts(zone, self._settings.hostname, record, *fetched, wanted=policy)
        else:
            yield skipped(checks.MTA_STS, zone, reason(record if isinstance(fetched, tuple) else fetched))

    def _authorities(self, wanted: tuple[Wanted, ...], answers: Mapping[str, Any]) -> Iterator[Finding]:
        ours = _issue(wanted)
        if not ours:
            yield skipped(checks.CAA, self._settings.hostname, "the stack has no CAA record")
            return
        for name in _certified(self._settings):
            judge = partial(judge_names.authorities, name, ours=ours)
            yield from _each(checks.CAA, name, answers[f"authorities {name}"], judge)

    def _addresses(self, answers: Mapping[str, Any]) -> Iterator[Finding]:
        judge = partial(judge_names.reverse, hostname=self._settings.hostname, published=True)
        for address in addresses(self._settings):
            yield from _each(checks.PTR, address, answers[f"reverse {address}"], judge)
            for blocklist in self.options.blocklists:
                subject = f"{address} at {blocklist}"
                yield from _each(
                    checks.BLOCKLIST, subject, answers[f"listing {address} {blocklist}"], judge_names.listing
                )

    def _ports(self, wanted: tuple[Wanted, ...], answers: Mapping[str, Any]) -> Iterator[Finding]:
        settings = self._settings
        seen = []
        for port in ports(settings):
            for address in addresses(settings):
                answer = answers[f"door {port.number} {address}"]
                if isinstance(answer, doors.Door):
                    seen.append(answer)
                elif port.on:
                    yield skipped(checks.DOOR, f"{port.label} at {address}", reason(answer))
        here25 = answers["here25"]
        yield from judge_doors.doors(
            seen, settings.hostname, here25=here25 if isinstance(here25, str) else "not known in time"
        )
        yield from judge_doors.certificates(seen, datetime.datetime.now(datetime.UTC))
        tried = [answers[f"floor {port.number}"] for port in ports(settings) if port.on]
        yield from judge_doors.floors([answer for answer in tried if isinstance(answer, doors.Floor)])
        forms = doors.relay_forms(settings.domain, settings.hostname, self.options.stranger)
        relays = [answers[f"relay {form[0]}"] for form in forms]
        yield from judge_doors.relays(
            [answer for answer in relays if isinstance(answer, doors.Relay)],
            catch_all=any(domain.catch_all for domain in settings.served),
        )
        tlsa = answers["tlsa"]
        if isinstance(tlsa, Answer):
            stated = any(record.type == "TLSA" for record in wanted)
            yield from judge_doors.dane(settings.hostname, tlsa, seen, expected=stated)
        else:
            yield skipped(checks.DANE, settings.hostname, reason(tlsa))

    def _account(self, answers: Mapping[str, Any]) -> Iterator[Finding]:
        if not self.options.account:
            for check in (checks.LOGIN, checks.ROUND_TRIP, checks.SIGNED, checks.ALIGNED):
                yield skipped(check, "account", self.options.not_lent or "no account was given: --account ADDRESS")
            return
        address = self.options.account[0]
        seen = [answers[f"login {port.number}"] for port in self._login_ports()]
        yield from judge_mailbox.logins([answer for answer in seen if isinstance(answer, mailbox.Login)])
        trip = answers.get("round trip", Late(reason="it needs submission and IMAP, and one is off"))
        policies = answers.get(f"spf {address.rpartition('@')[2]}")
        if isinstance(trip, mailbox.RoundTrip) and isinstance(policies, SenderPolicy):
            yield from judge_mailbox.round_trip(address, trip, policies.verdicts)
        else:
            why = reason(trip if not isinstance(trip, mailbox.RoundTrip) else policies)
            yield skipped(checks.ROUND_TRIP, address, why)

    def _host(self, answers: Mapping[str, Any]) -> Iterator[Finding]:
        if not self.options.ssh:
            for check in (checks.SSH, checks.MEMORY, checks.SERVICES, checks.QUEUE, checks.QUOTA, checks.ON_DISK):
                yield skipped(check, "host", "the host is not to be asked: --no-ssh")
            return
        answer = answers["host"]
        facts = answer if isinstance(answer, host.Facts) else host.Facts(error=reason(answer), cause="other")
        yield judge_host.ssh(facts, f"{self._settings.ssh.user}@{self._settings.ssh.host}")
        # The update that switches a feature on can only warn of it, in a line that a terminal does not keep.
        machine = judge_host.machine(facts, os=self._settings.os, needed_memory=needed_memory(self._settings))
        yield from (finding for finding in machine if finding.check is checks.MEMORY)
        yield from judge_host.services(facts, self.stack.deployed)
        yield judge_host.queue(facts)
        yield judge_host.quota(facts)
        seen = [answer for key, answer in answers.items() if key.startswith("door ") and isinstance(answer, doors.Door)]
        yield judge_doors.on_disk(seen, str(facts.values.get("fingerprint") or ""))


@dataclass(frozen=True, kw_only=True)
class SenderPolicy:
    """The SPF records of a domain, and what they mean for each of the host's addresses."""

    records: tuple[str, ...]
    verdicts: Mapping[str, spf.Verdict]
    others: spf.Verdict
    """For everybody else."""


def _certified(settings: Settings) -> list[str]:
    """Names the host has certificates of."""
    return [settings.hostname, *(name for domain in settings.served for name in web_model.names(settings, domain.name))]


def _issue(wanted: tuple[Wanted, ...]) -> str:
    """Whom the stack's CAA record lets issue; only the stack's state knows."""
    values = (value for record in wanted if record.type == "CAA" for value in record.values)
    return next((value.split('"')[1] for value in values if value.split()[1] == "issue"), "")


def _spf(look: Names, zone: str, where: tuple[str, ...]) -> SenderPolicy:
    def lookup(name: str, kind: str) -> tuple[str, ...]:
        answer = look.ask(name, kind)
        if answer.error or answer.rcode == "SERVFAIL":
            raise LookupError(f"{name} {kind}: the resolver {answer.error or 'answers SERVFAIL'}")
        return answer.values

    found = look.ask(zone, "TXT")
    if found.error:
        raise LookupError(f"the resolver {found.error}")
    return SenderPolicy(
        records=tuple(spf.policies(found.values)),
        verdicts={address: spf.judge(zone, address, lookup) for address in where},
        others=spf.judge(zone, spf.STRANGER, lookup),
    )


def _texts(look: Names, name: str) -> list[str]:
    return list(look.ask(name, "TXT").values)


def _texts_of(servers: list[Server], record: Wanted) -> tuple[str, ...]:
    """What the first server that answers says; that the others say the same is another check."""
    answers = (server.answers.get((record.name, record.type)) for server in servers)
    return next((answer.values for answer in answers if answer), ())


def _here25(look: Names, targets: tuple[str, ...], timeout: float) -> str:
    """Why no mail server at all can be reached from this machine, where that is so; nothing when one can."""
    error = "no mail server to compare with was found"
    for target in names.exchangers(look, targets):
        for address in look.addresses(target):
            try:
                with socket.create_connection((address, SMTP), timeout=timeout / 2):
                    return ""
            except OSError as problem:
                error = doors.explain(problem)
    return error


def _each(check: Check, subject: str, answer: Any, judge: Callable[[Any], Any]) -> Iterator[Finding]:
    """Give an answer to its judge, who returns a finding or several; say why where there is no answer."""
    if isinstance(answer, Late | Exception):
        yield skipped(check, subject, reason(answer))
        return
    found = judge(answer)
    yield from [found] if isinstance(found, Finding) else found
