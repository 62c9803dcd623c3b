"""The succession of DKIM keys: which keys there are at each stage, and when the next stage may come.

A rotation makes one key of each domain follow another, in three stages that the configuration names. Each is one
`pulumi up`, and running it again changes nothing:

- `published`: the record of the new key is there, and every name server shows it. The former key signs.
- `signing`: the new key signs. The record of the former stays for as long as mail with its signature may be under way.
- `settled`: the former key is withdrawn: its record says so (RFC 6376 §3.6.1), its private half is gone.

From `published` and `signing` the way back is open as well. No stage signs with a key before its record is visible,
even if one was skipped: that is in the dependencies. What is too early to withdraw only dates can tell (`too_early`).
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from model.frozen import frozen

if TYPE_CHECKING:
    from model.domains import ServedDomain
    from model.options import Rotation

State = Literal["published", "signs", "retiring", "withdrawn"]

UNDER_WAY_DAYS: Final = 2
"""Beyond the time in the host's own queue: a forwarder's, and that of a receiver who judges later."""


_DOMAINS_NAMED: Final = 3


@frozen
class DkimKey:
    """One generation of a domain's key (two keys where rspamd signs)."""

    generation: int
    selector: str
    state: State

    @property
    def on_host(self) -> bool:
        """Whether the signer has its private half: a retiring one keeps it, for a mail that is just being signed."""
        return self.state in {"signs", "retiring"}

    @property
    def suffix(self) -> str:
        """What its resources' names end in: the first key's are older than rotation."""
        return f"-{self.generation}" if self.generation > 1 else ""


def selector(base: str, generation: int) -> str:
    """Return the selector of a generation: each has its own, so that nobody verifies with a cached other key."""
    return f"{base}-{generation}" if generation > 1 else base


def own_base_key(domain: str) -> str:
    """Return the setting that gives one domain a selector of its own."""
    return f'domains["{domain}"].selector'


def other_selector(domain: "ServedDomain", wanted: str, published: str, stack: str) -> str:
    """Say what to do where a key was published under another selector than the settings want; nothing where it was not.

    The key cannot move: mail that is under way names its selector. Both names are those of the key's record.
    """
    if published.lower() == wanted:
        return ""
    where = f"the key of {domain.name} is published as {published}, where receivers of mail under way look for it"
    tail = wanted.removeprefix(domain.base)
    if not published.endswith(tail):
        return f"{domain.base_key}: {where}; rename that record to {wanted} at Cloudflare, then run `pulumi refresh`"
    former = published.removesuffix(tail)
    ways = [_set(domain.base_key, former)]
    if domain.base_key != own_base_key(domain.name):
        ways.append(f"{_set(own_base_key(domain.name), former)}   # for this domain alone")
    return "\n".join(
        [
            f"{domain.base_key}: {domain.base} instead of {former} is not possible: {where}. Set it back:",
            *(f"  {way}" for way in ways),
            "A new key gets a selector of its own, which ends in a number, without a loss of mail by:",
            f"  make rotate STACK={stack} START=yes",
        ]
    )


def _set(key: str, value: str) -> str:
    return f"pulumi config set --path {shlex.quote(key)} {value}"


def other_sizes(bits: int, others: Mapping[str, int], stack: str) -> str:
    """Say what `dkim.bits` counts for; `others`: domains whose newest keys have another size, and which."""
    sizes = " or ".join(str(size) for size in sorted(set(others.values())))
    names = [*others][:_DOMAINS_NAMED]
    more = f" and {len(others) - len(names)} more" if len(others) > len(names) else ""
    verb = "one that is in use has" if len(others) == 1 else "ones that are in use have"
    return (
        f"dkim.bits: {bits} counts for the next key; the {verb} {sizes} bits ({', '.join(names)}{more}). "
        f"To replace it without a loss: make rotate STACK={stack} START=yes"
    )


def keys(base: str, rotation: "Rotation") -> tuple[DkimKey, ...]:
    """Return a domain's keys, the oldest first; `base`: the selector of the first."""
    newest = rotation.generation
    stages: Mapping[str, tuple[State, State]] = {
        "published": ("signs", "published"),
        "signing": ("retiring", "signs"),
        "settled": ("withdrawn", "signs"),
    }
    return tuple(
        DkimKey(generation=number, selector=selector(base, number), state=state)
        for number, state in zip((newest - 1, newest), stages[rotation.stage], strict=True)
        if number >= 1
    )


def signing(rotation: "Rotation") -> int:
    """Return the number of the generation that signs."""
    return rotation.generation - 1 if rotation.stage == "published" else rotation.generation


def dated(rotation: "Rotation") -> bool:
    """Whether anybody needs to know since when the key signs."""
    return rotation.generation > 1 or rotation.every is not None


def problems(rotation: "Rotation") -> Iterator[tuple[str, str]]:
    """Yield (place, problem) for what contradicts itself."""
    place = "dkim.rotation"
    if rotation.generation == 1 and rotation.stage != "settled":
        yield (
            f"{place}.stage",
            f"is {rotation.stage}, but the first key has none before it; set it to settled, or generation to 2",
        )
    elif rotation.stage == "signing" and rotation.since:
        yield (
            f"{place}.since",
            "is the former key's, which signs no more; pulumi config rm --path dkim.rotation.since",
        )
    elif rotation.generation > 1 and rotation.stage == "settled" and not rotation.since:
        yield (
            f"{place}.since",
            "is missing, and without it nobody knows whether the former key may be withdrawn; set stage to signing, "
            "run `pulumi up`, then `make rotate`, which writes both",
        )


def too_early(rotation: "Rotation", grace: timedelta, now: datetime) -> str:
    """Say why the former key may not be withdrawn yet; nothing where it may, or where that is not asked for."""
    if rotation.generation == 1 or rotation.stage != "settled" or not rotation.since:
        return ""
    return _in_flight(rotation.since, grace, now)


def _in_flight(since: datetime, grace: timedelta, now: datetime) -> str:
    end = since + grace
    if now >= end:
        return ""
    return (
        f"is settled too early: mail with the former key's signature may be under way until {when(end)} "
        f"(it signed until {when(since)}); set it to signing until then"
    )


def when(moment: datetime) -> str:
    """Write a moment as the configuration has it."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def stated(rotation: "Rotation", served: Iterable["ServedDomain"]) -> dict[str, object]:
    """Return what the outputs say of a stage, but for its date; domains mostly share their selectors."""
    return {
        "generation": rotation.generation,
        "stage": rotation.stage,
        "selectors": {key.selector: key.state for domain in served for key in domain.keys},
    }


def ahead(rotation: "Rotation", grace: timedelta, since: str) -> dict[str, str]:
    """Return what comes next and when it may; `since`: when the key that signs began to, empty where nobody noted."""
    if rotation.stage == "published":
        return {"next": "the new key signs", "due": "now"}
    if rotation.stage == "signing":
        return {"next": "the former key is withdrawn", "due": _later(since, grace)}
    return {"next": "the next key", "due": _later(since, rotation.every) if rotation.every else "when you say so"}


def _later(since: str, wait: timedelta) -> str:
    return when(datetime.fromisoformat(since) + wait)


def overdue(said: Mapping[str, object], now: datetime) -> str:
    """Say what should have come by now; nothing before its date. `said`: see `ahead`."""
    try:
        due_at = datetime.fromisoformat(str(said["due"]))
    except ValueError:
        return ""
    if now < due_at:
        return ""
    return f"{said['next']} is due since {said['due']}"


@frozen
class Applied:
    """What the outputs of a stack say of its last complete `pulumi up`."""

    generation: int = 1
    stage: str = "settled"
    since: datetime | None = None


def applied(outputs: Mapping[str, Any]) -> Applied:
    """Read a stack's outputs; those of a stack from before rotation say nothing.

    Raises:
        ValueError: they are not as this program writes them.
    """
    found = outputs.get("dkim") or {}
    since = str(found.get("since") or "")
    return Applied(
        generation=int(found.get("generation", 1)),
        stage=str(found.get("stage", "settled")),
        since=datetime.fromisoformat(since) if since else None,
    )


def leap(rotation: "Rotation", outputs: Mapping[str, Any], stack: str) -> str:
    """Say why a stage cannot follow the one that the last complete `pulumi up` left, and how to set it back.

    Nothing where it can, or where nothing was applied before: a new stack may begin with any key.
    """
    if not outputs:
        return ""
    done = applied(outputs)
    way = (rotation.generation - done.generation, done.stage, rotation.stage)
    if way in _WAYS:
        return ""
    back = {"generation": str(done.generation), "stage": done.stage}
    if done.stage == "settled" and done.generation > 1 and done.since:
        back["since"] = when(done.since)
    lines = [
        f"dkim.rotation: generation {rotation.generation} {rotation.stage} cannot follow generation {done.generation} "
        f"{done.stage}, which the last complete `pulumi up` left: receivers of mail under way would not find its key "
        "any more. Set it back:"
    ]
    if rotation.since and "since" not in back:
        lines.append("  pulumi config rm --path dkim.rotation.since")
    pairs = " ".join(f"--plaintext dkim.rotation.{key}={value}" for key, value in back.items())
    return "\n".join(
        [
            *lines,
            f"  pulumi config set-all --path {pairs}",
            f"From there, one stage after another with a `pulumi up` each:\n  make rotate STACK={stack}",
        ]
    )


# By how many generations, from which stage, to which.
_WAYS: Final = frozenset(
    {
        (0, "published", "published"),
        (0, "published", "signing"),
        (0, "signing", "published"),
        (0, "signing", "signing"),
        (0, "signing", "settled"),
        (0, "settled", "settled"),
        (1, "settled", "published"),
        # The wait for the record is in the dependencies.
        (1, "settled", "signing"),
        # The key that goes has never signed.
        (-1, "published", "settled"),
    }
)


@frozen
class Step:
    """The next stage of a rotation, or why it cannot come yet."""

    refused: str = ""
    """One line; empty when the step may be taken."""
    values: Mapping[str, str | int]
    """What the configuration shall say below dkim.rotation."""
    forget_since: bool = False
    """Whether `since` must go first: it is the former key's."""
    meaning: str = ""
    """What the next `pulumi up` does."""


def due(rotation: "Rotation", done: Applied) -> datetime | None:
    """Return when the next key is due; None where only the operator says so, or a rotation is under way."""
    since = rotation.since or done.since
    if rotation.every is None or since is None or rotation.stage != "settled":
        return None
    return since + rotation.every


def following(rotation: "Rotation", done: Applied, grace: timedelta, now: datetime, *, start: bool) -> Step:
    """Return the stage after the configuration's; `start`: begin a rotation that is not due yet."""
    newest = rotation.generation
    if (done.generation, done.stage) != (newest, rotation.stage):
        return _refused(
            f"generation {newest} is {rotation.stage} in the settings, but the last complete `pulumi up` left "
            f"generation {done.generation} {done.stage}; run `pulumi up` first"
        )
    if rotation.stage == "published":
        return Step(
            values={"stage": "signing"},
            forget_since=rotation.since is not None,
            meaning=f"lets generation {newest} sign; generation {newest - 1} stays published",
        )
    if rotation.stage == "signing":
        return _withdrawal(newest, done, grace, now)
    day = due(rotation, done)
    if day and now < day and not start:
        return _refused(f"the next key is due on {when(day)}; START=yes begins now")
    return Step(
        values={"generation": newest + 1, "stage": "published"},
        meaning=f"publishes generation {newest + 1} of every domain's key and waits until all name servers show it",
    )


def _withdrawal(newest: int, done: Applied, grace: timedelta, now: datetime) -> Step:
    if not done.since:
        return _refused("the outputs do not say since when the new key signs; run `pulumi up` first")
    end = done.since + grace
    if now < end:
        return _refused(f"mail signed with generation {newest - 1} may be under way until {when(end)}; come back then")
    return Step(
        values={"since": when(done.since), "stage": "settled"},
        meaning=f"withdraws generation {newest - 1}: its record says so, its private key is deleted",
    )


def _refused(why: str) -> Step:
    return Step(refused=why, values={})
