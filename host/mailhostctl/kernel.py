"""ufw's rules as the kernel has them, beside the files they were loaded from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mailhostctl.difference import Difference
from mailhostctl.paths import Root
from mailhostctl.system import run

_FAMILIES = (("iptables", "ufw", "/etc/ufw/user.rules"), ("ip6tables", "ufw6", "/etc/ufw/user6.rules"))
_Rules = Mapping[str, Sequence[str]]


def differences(root: Root) -> Iterator[Difference]:
    """Compares the chains of both rules files, and how packets get to them, with the kernel's."""
    for command, prefix, path in _FAMILIES:
        file = root.live(path)
        if file.is_file():
            yield from _compare(command, prefix, file.read_bytes())


def _compare(command: str, prefix: str, rules: bytes) -> Iterator[Difference]:
    """Loads the rules into a network namespace of its own, so that both sides are in iptables' own words."""
    load = f"{command}-restore --wait 5 && {command} --wait 5 --list-rules"
    for done in (
        wanted := run(["unshare", "--net", "sh", "-c", load], stdin=rules, timeout=20),
        live := run([command, "--wait", "5", "--list-rules"], timeout=20),
    ):
        if done.code != 0:
            yield Difference(what=f"{command}'s rules", wanted="comparable", found=done.said)
            return
    there = _chains(live.out)
    for chain, lines in _chains(wanted.out).items():
        if chain.startswith(f"{prefix}-"):
            yield from _chain(chain, lines, there)
    # What leads a packet there is ufw's own (before.rules).
    for line in (
        "-P INPUT DROP",
        f"-A INPUT -j {prefix}-before-input",
        f"-A {prefix}-before-input -j {prefix}-user-input",
    ):
        if line not in live.out.splitlines():
            yield Difference(what=f"{command}'s rules", wanted=line, found="missing")


def _chain(chain: str, wanted: Sequence[str], there: _Rules) -> Iterator[Difference]:
    found = there.get(chain)
    if found == wanted:
        return
    what, rules = f"chain {chain} in the kernel", f"{len(wanted)} rules"
    if found is None:
        yield Difference(what=what, wanted=rules, found="missing")
        return
    missing = [line for line in wanted if line not in found]
    strange = [line for line in found if line not in wanted]
    why = "in another order"
    if missing or strange:
        why = f"without {missing[0]}" if missing else f"with {strange[0]}"
    yield Difference(what=what, wanted=rules, found=f"{len(found)} rules, {why}")


def _chains(listing: str) -> _Rules:
    """The rules of each chain that was made (iptables(8), --list-rules)."""
    chains: dict[str, list[str]] = {}
    for kind, chain, *rest in (line.split(" ", 2) for line in listing.splitlines() if " " in line):
        if kind == "-N":
            chains[chain] = []
        elif kind == "-A" and chain in chains:
            chains[chain].append(" ".join(rest))
    return chains
