"""The look before the first change: is everything there that a mail host needs and that nobody can make for it?"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from doctor import checks
from doctor.examination import addresses
from doctor.finding import Finding, skipped
from doctor.judge import host as judge_host
from doctor.judge import names as judge_names
from doctor.observe import host, names, web
from doctor.options import Options
from doctor.patience import Work, reason
from doctor.ports import ports
from doctor.stack import Stack
from model import constants
from model.preflight import needed_memory
from model.settings import Settings

_DNS: Final = 53


def look(stack: Stack, options: Options) -> list[Finding]:
    """Look at everything and judge it. Changes nothing, anywhere."""
    return list(_findings(stack, options))


def wanted_ports(settings: Settings) -> set[int]:
    """Return the ports the mail host's own daemons will listen on, the resolver's among them."""
    own = {port.number for port in ports(settings) if port.on} | {constants.HTTP}
    # Without a web server of its own, 443 is for one beside the mail host.
    return own | ({constants.HTTPS} if settings.web else set()) | ({_DNS} if settings.spam.enabled else set())


def _findings(stack: Stack, options: Options) -> Iterator[Finding]:
    settings = stack.settings
    work = Work(deadline=time.monotonic() + options.deadline)
    targets = work.all({"targets": partial(names.exchangers, options.names, options.port25_targets)})["targets"]
    exchangers = targets if isinstance(targets, list) else []
    answers = work.all(dict(_questions(stack, options, exchangers)))
    yield from _zones(settings, answers)
    answer = answers["host"]
    facts = answer if isinstance(answer, host.Facts) else host.Facts(error=reason(answer), cause="other")
    yield judge_host.ssh(facts, f"{settings.ssh.user}@{settings.ssh.host}:{settings.ssh.port}")
    yield from judge_host.machine(facts, os=settings.os, needed_memory=needed_memory(settings))
    yield from judge_host.port25(facts, options.port25_targets)
    yield from judge_host.owners(facts, wanted_ports(settings), ssh_port=settings.ssh.port)
    published = {record.name for record in stack.published}
    for address in addresses(settings):
        reverse = answers[f"reverse {address}"]
        if isinstance(reverse, names.Reverse):
            yield judge_names.reverse(reverse, settings.hostname, published=settings.hostname in published)
        else:
            yield skipped(checks.PTR, address, reason(reverse))
    for listing in judge_host.listings(facts, addresses(settings), options.blocklists):
        yield judge_names.listing(listing)


def _zones(settings: Settings, answers: dict[str, Any]) -> Iterator[Finding]:
    for domain in settings.zones:
        zone, delegated = answers[f"zone {domain.name}"], answers[f"delegation {domain.name}"]
        if not isinstance(zone, web.Zone):
            yield skipped(checks.ZONE, domain.name, reason(zone))
            continue
        yield judge_host.zone(zone)
        if isinstance(delegated, names.Answer):
            yield judge_host.zone_delegation(zone, [value.rstrip(".") for value in delegated.values])
        else:
            yield skipped(checks.ZONE_DELEGATION, domain.name, reason(delegated))


def _questions(stack: Stack, options: Options, exchangers: list[str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    settings, look = stack.settings, options.names
    asked = host.Questions(
        port25=exchangers,
        ipv6=settings.ipv6 is not None,
        names=[
            name
            for address in addresses(settings)
            for blocklist in options.blocklists
            for name in names.listing_names(address, blocklist)
        ],
    )
    yield "host", partial(host.ask, settings, asked, timeout=options.timeout, patience=4 * options.timeout)
    for domain in settings.zones:
        zone_id = domain.zone_id
        yield (
            f"zone {domain.name}",
            partial(web.zone, domain.name, zone_id, api=stack.cloudflare, timeout=options.timeout),
        )
        yield f"delegation {domain.name}", partial(look.ask, domain.name, "NS")
    for address in addresses(settings):
        yield f"reverse {address}", partial(names.reverse, look, address)
