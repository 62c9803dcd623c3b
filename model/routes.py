"""Where mail goes, checked as a whole: aliases, forwards and catch-alls form a graph that must end somewhere.

Postfix would find most of this out too, but one message at a time, with mail already deferred
(`unreasonable virtual_alias_maps map nesting`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from model import rotation
from model.dkim import key_name, selectors
from model.options import Dkim, Mailbox, MailDomain
from model.policies import needs_permission, permission_name

# RFC 5321 §4.5.1 requires postmaster, RFC 2142 §2 and §4 abuse. Cron and other programs write to root, and people
# answer bounces, which come from MAILER-DAEMON.
ROLES: Final = ("abuse", "mailer-daemon", "postmaster", "root")
"""Local parts that reach somebody in every served domain."""

_MAX_NAME: Final = 253  # RFC 1035 §2.3.4: 255 octets on the wire
_MAX_LABEL: Final = 63  # the same


def domain_problems(
    domains: Mapping[str, MailDomain], first: str, hostname: str, dkim: Dkim
) -> Iterator[tuple[str, str]]:
    """Yield (place, problem) for each domain this host cannot serve."""
    if domains.get(first, MailDomain()).silent:
        yield f"domains.{first}.mail", "is none, but mail is what this host is for; let domain be another one"
    for name in dict.fromkeys((first, *domains)):
        base = domains.get(name, MailDomain()).selector or dkim.selector
        newest = selectors(rotation.selector(base, dkim.rotation.generation), dkim.signer)[-1]
        key = key_name(newest, name)
        if len(newest.rpartition(".")[2]) > _MAX_LABEL:
            yield (
                f"domains.{name}",
                f"has too long a selector: {newest} has a label of more than {_MAX_LABEL} characters",
            )
        if len(key) > _MAX_NAME:
            yield (
                f"domains.{name}",
                f"is too long: {key[:20]}… would have {len(key)} characters, and a name in DNS may have {_MAX_NAME}",
            )
    if hostname != first and hostname in domains:
        yield (
            f"domains.{hostname}",
            "is the host's own name, which is local, and no domain is both local and virtual; "
            "leave it out, or choose another hostname",
        )


def problems(
    served: Mapping[str, MailDomain], mailboxes: Mapping[str, Mailbox], aliases: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str]]:
    """Yield (place, problem) for each address that mail cannot reach, in time linear in their number."""
    for alias, targets in aliases.items():
        place = f"aliases.{alias}"
        name = alias.rpartition("@")[2]
        if name not in served or served[name].silent:
            yield place, _no_place(name, served)
        if alias in mailboxes:
            yield place, "is a mailbox too; remove one of the two, or let the mailbox forward"
        if not targets:
            yield place, "goes nowhere; name at least one address, or remove it"
        if len(set(targets)) < len(targets):
            yield place, "names an address twice; keep one"
        yield from ((place, wrong) for target in targets if (wrong := _unreachable(target, served, mailboxes, aliases)))
    for address, box in mailboxes.items():
        place = f"mailboxes.{address}"
        if not box.keep_copy and not box.forward:
            yield place, "has keepCopy false without forward, so its mail would be lost; set forward, or keep copies"
        for target in box.forward:
            wrong = "is the mailbox itself; leave it out, keepCopy keeps its mail" if target == address else ""
            wrong = f"{target} {wrong}" if wrong else _unreachable(target, served, mailboxes, aliases)
            if wrong:
                yield f"{place}.forward", wrong
    for name, domain in served.items():
        if domain.catch_all and (wrong := _unreachable(domain.catch_all, served, mailboxes, aliases)):
            yield f"domains.{name}.catchAll", wrong
    for loop in _loops(mailboxes, aliases):
        kind = "aliases" if loop[0] in aliases else "mailboxes"
        yield f"{kind}.{loop[0]}", f"is a loop, {' -> '.join(loop)}; let one of them go to a mailbox"


def _no_place(name: str, served: Mapping[str, MailDomain]) -> str:
    if name in served:
        return f"is in {name}, which has mail none; leave that out, or use another domain"
    return f"is in no domain this host serves; add {name} to domains, or use another one"


def report_problems(
    usual: Sequence[str],
    served: Mapping[str, MailDomain],
    mailboxes: Mapping[str, Mailbox],
    aliases: Mapping[str, tuple[str, ...]],
) -> Iterator[tuple[str, str]]:
    """Yield (place, problem) for each address that no report can reach."""
    for name, domain in served.items():
        place = f"domains.{name}.reports" if domain.reports else "reports.addresses"
        for address in domain.reports or usual:
            local, _, host = address.rpartition("@")
            if wrong := _unreachable(f"{local.partition('+')[0]}@{host}", served, mailboxes, aliases):
                yield place, wrong
            elif needs_permission(name, host) and len(permission_name(name, host)) > _MAX_NAME:
                yield place, f"{address} needs a record with a name that is too long for DNS; name another address"


def _unreachable(
    target: str,
    served: Mapping[str, MailDomain],
    mailboxes: Mapping[str, Mailbox],
    aliases: Mapping[str, tuple[str, ...]],
) -> str:
    """Say why mail to `target` would not arrive; nothing if it would, or if another host decides.

    A catch-all makes no address exist: a misspelt target would be its owner's, and the walk below would miss a loop.
    """
    local, _, domain = target.rpartition("@")
    box = mailboxes.get(target)
    if box is not None:
        return "" if box.enabled else f"goes to {target}, which is disabled; enable it, or name another address"
    if domain in served and served[domain].silent:
        return f"goes to {target}, and {domain} has mail none; name another address"
    if domain not in served or target in aliases or local in ROLES:
        return ""
    return f"goes to {target}, which does not exist; add the mailbox or alias, or name another address"


def _loops(mailboxes: Mapping[str, Mailbox], aliases: Mapping[str, tuple[str, ...]]) -> Iterator[list[str]]:
    """Yield each loop that a depth-first walk meets, as a -> b -> a; without recursion, since chains may be long."""
    edges = {
        **{address: tuple(t for t in box.forward if t != address) for address, box in mailboxes.items() if box.forward},
        **aliases,
    }
    done: set[str] = set()
    for start, first in edges.items():
        if start in done:
            continue
        path, on_path = [start], {start: 0}
        open_ends = [iter(first)]
        while open_ends:
            target = next(open_ends[-1], None)
            if target is None:
                open_ends.pop()
                last = path.pop()
                del on_path[last]
                done.add(last)
            elif target in on_path:
                yield [*path[on_path[target] :], target]
            elif target in edges and target not in done:
                on_path[target] = len(path)
                path.append(target)
                open_ends.append(iter(edges[target]))
