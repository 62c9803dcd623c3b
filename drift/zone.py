"""The records of a stack beside those that Cloudflare has."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from doctor.expected import canonical, text, zone_names, zone_of
from doctor.observe import web
from doctor.observe.drift import Difference
from doctor.patience import Work
from doctor.stack import Published, Stack
from model import foreign

_LONGEST: Final = 60


def ids(stack: Stack, work: Work, *, timeout: float) -> dict[str, str]:
    """Return the name of each zone by its id: of the records in the state, of the settings, else looked up."""
    known = zone_names(stack.settings)
    # Of a domain that the settings no longer have, the shortest name is the best one there is.
    longest_first = sorted(stack.published, key=lambda record: -len(record.name))
    found = {record.zone_id: zone_of(record.name, known) for record in longest_first}
    configured = {domain.name: domain.zone_id for domain in stack.settings.zones if domain.zone_id}
    found |= {zone_id: name for name, zone_id in configured.items()}
    unknown = [name for name in known if name not in found.values()]
    looked_up = work.all(
        {name: partial(web.zone, name, None, api=stack.cloudflare, timeout=timeout) for name in unknown}
    )
    return found | {zone.id: name for name, zone in looked_up.items() if isinstance(zone, web.Zone) and zone.id}


def compare(zone: str, wanted: Sequence[Published], found: Sequence[Published], stack: str) -> Iterator[Difference]:
    """Compare the records of one zone. A name has no case, a key has."""
    there = {record.id: record for record in found}
    for record in wanted:
        what = f"{record.name} {record.type}"
        if record.id not in there:
            described = _shown(canonical(record.type, text(record)))
            yield Difference(
                where=zone, what=what, wanted=described, found="no such record", mend="record", urn=record.urn
            )
            continue
        ours, theirs = _fields(record), _fields(there[record.id])
        changed = [key for key, value in ours.items() if theirs[key] != value]
        if changed:
            wanted_text, found_text = (
                "; ".join(f"{key} {_shown(side[key])}" for key in changed) for side in (ours, theirs)
            )
            yield Difference(where=zone, what=what, wanted=wanted_text, found=found_text, mend="record", urn=record.urn)
    yield from _strays(zone, wanted, there, stack)


def _strays(zone: str, wanted: Sequence[Published], there: Mapping[str, Published], stack: str) -> Iterator[Difference]:
    """Find records that carry the stack's comment and that it does not know."""
    known = {record.id for record in wanted}
    # Where the stack's own record is there too, the other one is only in its way. A state that was lost knows none.
    answered = {(record.name, record.type) for record in wanted if record.id in there}
    for record in there.values():
        if record.id not in known and foreign.ours(record.comment, stack):
            yield Difference(
                where=zone,
                what=f"{record.name} {record.type}",
                wanted="no such record",
                found=_shown(canonical(record.type, text(record))),
                mend="orphan" if (record.name, record.type) in answered else "stranded",
                id=f"zones/{record.zone_id}/dns_records/{record.id}",
            )


def _fields(record: Published) -> dict[str, str]:
    return {
        "name": record.name,
        "type": record.type,
        "content": canonical(record.type, text(record)),
        "ttl": str(record.ttl),
        "proxied": str(record.proxied).lower(),
        "comment": record.comment,
    }


def _shown(content: str) -> str:
    return content if len(content) <= _LONGEST else f"{content[:_LONGEST]}…"
