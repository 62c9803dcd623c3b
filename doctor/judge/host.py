"""Judges what the host said of itself, and what Cloudflare said of the zone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from doctor import checks
from doctor.finding import Finding, ok, skipped, wrong
from doctor.observe import drift
from doctor.observe.host import Facts
from doctor.observe.names import Listing, listing_names
from doctor.observe.web import Zone
from doctor.stack import Deployed
from model.preflight import FREE_DISK

_SKEW_SECONDS: Final = 60
_GIGABYTE: Final = 1_000_000_000
_LATE_SECONDS: Final = 3600
_NAMED: Final = 5
_OURS: Final[Mapping[int, frozenset[str]]] = {
    25: frozenset({"master", "smtpd", "postscreen"}),
    587: frozenset({"master", "smtpd"}),
    465: frozenset({"master", "smtpd"}),
    143: frozenset({"dovecot", "imap-login"}),
    993: frozenset({"dovecot", "imap-login"}),
    110: frozenset({"dovecot", "pop3-login"}),
    995: frozenset({"dovecot", "pop3-login"}),
    4190: frozenset({"dovecot", "managesieve-log"}),
    80: frozenset({"nginx", "certbot"}),
    443: frozenset({"nginx"}),
    53: frozenset({"unbound"}),
}
"""Programs (proc_pid_comm(5)) that this project runs, by port."""
_LOCAL_RESOLVER: Final = ("0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104 because it compares, and binds nothing


def ssh(facts: Facts, where: str) -> Finding:
    """Judge whether the host let us in."""
    if not facts.error or facts.cause == "python":
        return ok(checks.SSH, where, "logged in")
    causes = {
        "unreachable": (
            "nobody answers there",
            "The address is `ssh.host`, or else `ipv4`; the port is `ssh.port`. Look at the hosting company's console "
            "whether the machine runs, and at its firewall.",
        ),
        "host-key": (
            "the machine was reinstalled, `hostKey` is another machine's, or somebody stands between",
            "Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the machine's console. Only if that is "
            "the key it shows, set `hostKey` to it.",
        ),
        "agent": (
            "no key fits",
            "Put the right key into the agent (`ssh-add -l` lists them), or its public half into `authorized_keys` on "
            "the host. `ssh.user` says who logs in.",
        ),
        "deploy-key": (
            "the host does not know that key, and with it set the agent is not asked",
            "Put its public half into `authorized_keys` on the host, or change or remove `sshPrivateKey`.",
        ),
        "sudo": (
            "sudo wants a password",
            "Let the user in `ssh.user` run sudo without a password, or set it to root.",
        ),
    }
    cause, fix = causes.get(facts.cause, ("the session ended early", ""))
    return wrong(checks.SSH, where, facts.error, cause, fix)


def services(facts: Facts, deployed: Deployed) -> Iterator[Finding]:
    """Judge in what the host differs from the stack."""
    try:
        compared = drift.parse(facts.values.get("drift"), deployed)
    except ValueError:
        yield skipped(checks.SERVICES, "host", _reason(facts, "mailhostctl is not there, or another version"))
        return
    found: dict[str, list[drift.Difference]] = {name: [] for name in compared.services}
    for difference in compared.differences:
        found.setdefault(difference.where, []).append(difference)
    for name, differences in found.items():
        if differences:
            yield _differs(name, differences)
        else:
            yield ok(checks.SERVICES, name, f"generation {compared.services[name]}, as the stack says")


def _differs(name: str, differences: Sequence[drift.Difference]) -> Finding:
    found = "; ".join(f"{each.what}: {each.found}, not {each.wanted}" for each in differences)
    stopped = next((each.what for each in differences if each.wanted == "active"), "")
    if stopped:
        return wrong(
            checks.SERVICES,
            name,
            found,
            "the daemon does not run",
            # A timer's words are its service's, and before Debian 13 Postfix's are an instance's.
            f"`journalctl -u '{stopped.rpartition('.')[0]}*'` on the host says why; then {checks.REPAIR}.",
        )
    causes = {
        "apply": "the stack has applied something else",
        "remove": "the stack does not know it",
        "reapply": "it was changed by hand, or by a change that was cut off",
    }
    return wrong(checks.SERVICES, name, found, causes[differences[0].mend])


def queue(facts: Facts) -> Finding:
    """Judge what waits in Postfix's queue."""
    waiting = facts.values.get("queue")
    if waiting is None:
        return skipped(checks.QUEUE, "host", _reason(facts, "the queue cannot be read"))
    late = [entry for entry in waiting if facts.values["now"] - entry["arrived"] > _LATE_SECONDS]
    if late:
        reason = next((entry["reason"] for entry in late if entry["reason"]), "no reason is given")
        return wrong(checks.QUEUE, "host", f"{len(late)} of {len(waiting)} wait for more than an hour", reason[:160])
    return ok(checks.QUEUE, "host", f"{len(waiting)} mails")


def quota(facts: Facts) -> Finding:
    """Judge whether mailboxes hold more than they may: an update that lowers a quota can only log it."""
    full = facts.values.get("full")
    if full is None:
        return skipped(checks.QUOTA, "host", _reason(facts, "the quotas cannot be read"))
    if full:
        named = ", ".join(full[:_NAMED]) + ("" if len(full) <= _NAMED else f" and {len(full) - _NAMED} more")
        return wrong(checks.QUOTA, "host", named, "the mailbox is over its quota")
    return ok(checks.QUOTA, "host", "none is over it")


def _reason(facts: Facts, otherwise: str) -> str:
    return f"SSH: {facts.error}" if facts.error else otherwise


def machine(facts: Facts, *, os: str, needed_memory: int) -> Iterator[Finding]:
    """Judge python, release, clock, memory and disk."""
    if facts.cause == "python":
        yield wrong(checks.PYTHON, "host", "none", facts.error)
    if facts.error:
        for check in (checks.RELEASE, checks.CLOCK, checks.MEMORY, checks.DISK):
            yield skipped(check, "host", _reason(facts, ""))
        return
    values = facts.values
    yield ok(checks.PYTHON, "host", str(values.get("python", "")))
    yield _release(values.get("release") or {}, os)
    if abs(facts.skew) > _SKEW_SECONDS:
        side = "ahead of" if facts.skew > 0 else "behind"
        yield wrong(checks.CLOCK, "host", f"{facts.skew:+.0f} s", f"it is {side} this machine's; one of them is wrong")
    else:
        yield ok(checks.CLOCK, "host", f"{facts.skew:+.0f} s")
    memory = values.get("memory")
    if memory is None:
        yield skipped(checks.MEMORY, "host", "the host does not say how much it has")
    elif memory["MemTotal"] + memory["SwapTotal"] < needed_memory:
        total = memory["MemTotal"] + memory["SwapTotal"]
        yield wrong(checks.MEMORY, "host", _size(total), f"what is on needs {_size(needed_memory)}, swap counted")
    else:
        yield ok(checks.MEMORY, "host", _size(memory["MemTotal"]))
    free = values.get("disk")
    if free is None:
        yield skipped(checks.DISK, "host", "the host does not say how much is free")
    elif free < FREE_DISK:
        yield wrong(checks.DISK, "host", f"{_size(free)} free", "the packages alone take 1 GB")
    else:
        yield ok(checks.DISK, "host", f"{_size(free)} free")


def _release(release: Mapping[str, str], os: str) -> Finding:
    # The settings write the ID and VERSION_ID of os-release(5) as one word.
    running = release.get("id", "") + release.get("version", "")
    if running != os:
        return wrong(checks.RELEASE, "host", release.get("name") or "unknown", f"the settings say {os}")
    return ok(checks.RELEASE, "host", release.get("name", running))


def _size(octets: float) -> str:
    return f"{octets / _GIGABYTE:.1f} GB"


def port25(facts: Facts, targets: Sequence[str]) -> Iterator[Finding]:
    """Judge whether any other mail server greets the host, for each address family."""
    if facts.error:
        yield skipped(checks.PORT25, "host", _reason(facts, ""))
        return
    tried = facts.values.get("port25", [])
    families = sorted({attempt["family"] for attempt in tried})
    if not families:
        yield skipped(checks.PORT25, "host", f"no mail server to try was found among {', '.join(targets)}")
    for family in families:
        attempts = [attempt for attempt in tried if attempt["family"] == family]
        greeted = [attempt for attempt in attempts if attempt["greeting"].startswith("220")]
        if greeted:
            yield ok(checks.PORT25, family, f"{greeted[0]['host']} greets")
            continue
        seen = "; ".join(f"{attempt['host']}: {attempt['greeting'] or attempt['error']}" for attempt in attempts)
        blocked = all(attempt["error"] == "timeout" for attempt in attempts)
        cause = "packets to port 25 are dropped: the hosting company blocks it" if blocked else "nobody greets"
        yield wrong(checks.PORT25, family, seen[:200], cause)


def owners(facts: Facts, ports: Collection[int], *, ssh_port: int) -> Iterator[Finding]:
    """Judge who listens on the ports of the mail host. On a host that was set up, its own daemons may."""
    if facts.error:
        yield skipped(checks.OWNERS, "host", _reason(facts, ""))
        return
    managed = bool(facts.values.get("managed"))
    strangers = [
        entry
        for entry in facts.values.get("listeners", [])
        if entry["port"] in ports
        and entry["port"] != ssh_port
        and _in_the_way(entry)
        and not (managed and entry["program"] in _OURS.get(entry["port"], ()))
    ]
    seen = sorted({(entry["port"], entry["program"] or "a program") for entry in strangers})
    for port, program in seen:
        yield wrong(
            checks.OWNERS,
            f"port {port}",
            program,
            "it was there before the mail host",
            f"`systemctl disable --now {_UNITS.get(program, program)}` on the host, if nobody needs it.",
        )
    if not seen:
        yield ok(checks.OWNERS, "host", "own daemons only" if managed else "all free")


_UNITS: Final = {"master": "postfix", "apache2": "apache2", "exim4": "exim4", "systemd-resolve": "systemd-resolved"}
"""Units by program name, where they differ or are usual."""


def _in_the_way(entry: Mapping[str, Any]) -> bool:
    # systemd-resolved keeps to 127.0.0.53 and disturbs nobody.
    return entry["port"] != 53 or entry["address"] in _LOCAL_RESOLVER  # noqa: PLR2004 because it is DNS's own port


def zone(seen: Zone) -> Finding:
    """Judge a zone at Cloudflare."""
    if seen.error:
        return wrong(checks.ZONE, seen.name, seen.error, "Cloudflare could not be asked, or refuses the token")
    if not seen.found:
        return wrong(checks.ZONE, seen.name, "no such zone", "the token's account does not have it")
    if seen.status != "active":
        return wrong(
            checks.ZONE,
            seen.name,
            seen.status,
            "Cloudflare does not serve it yet",
            "Put Cloudflare's name servers in at the registrar, and wait for its mail that says active.",
        )
    return ok(checks.ZONE, seen.name, "active")


def zone_delegation(seen: Zone, delegated: Sequence[str]) -> Finding:
    """Compare Cloudflare's name servers with those the world is sent to."""
    if not seen.found:
        return skipped(checks.ZONE_DELEGATION, seen.name, "Cloudflare does not say which servers it should be")
    world = sorted({name.lower() for name in delegated})
    if not seen.servers:
        return skipped(checks.ZONE_DELEGATION, seen.name, "Cloudflare names no servers for it")
    if set(world) != set(seen.servers):
        found = ", ".join(world) or "none"
        return wrong(checks.ZONE_DELEGATION, seen.name, found, f"it should be {', '.join(seen.servers)}")
    return ok(checks.ZONE_DELEGATION, seen.name, ", ".join(world))


def listings(facts: Facts, addresses: Sequence[str], zones: Sequence[str]) -> Iterator[Listing]:
    """Read what the host's own resolver found at the blocklists."""
    found: Mapping[str, list[str] | None] = facts.values.get("names", {})
    for address in addresses:
        for blocklist in zones:
            own, test, control = (found.get(name) for name in listing_names(address, blocklist))
            error = facts.error or ("of the host does not answer" if own is None or test is None else "")
            yield Listing(
                address=address,
                zone=blocklist,
                codes=tuple(own or ()),
                works=bool(test) and not control,
                error=error,
            )
