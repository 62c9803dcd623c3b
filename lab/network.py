"""The bridge, the addresses of the outer machine on it, and the rules that keep the lab closed.

There is no NAT and no forwarding: a packet of a guest to anything but a lab address is dropped (and counted) before it
is routed. The one exception turns port 53 into a question to the lab's own root: resolvers in guests that recurse from
the root servers work unmodified and never leave.
"""

import json
import socket
from pathlib import Path
from typing import Any, Final

from lab.addresses import (
    ACME_MANAGEMENT_PORT,
    ACME_PORT,
    APT_PORT,
    BRIDGE,
    GATEWAY4,
    GATEWAY6,
    MACHINES,
    NETWORK4,
    NETWORK6,
    NS1_4,
    NS1_6,
    OUTER4,
    OUTER6,
)
from lab.errors import LabError
from lab.processes import run

TABLE: Final = "mailhost_lab"
HARDWARE_ADDRESS: Final = "02:6d:68:00:00:01"
"""Of the bridge. Without one of its own it takes the lowest of its machines', so that each machine that comes or goes
may keep all others from the name servers until they ask for the address anew, up to a minute later."""
_LAB4: Final = ", ".join((*OUTER4, *(machine.ipv4 for machine in MACHINES.values())))
_LAB6: Final = ", ".join((*OUTER6, *(machine.ipv6 for machine in MACHINES.values())))
_RULES: Final = f"""
table inet {TABLE} {{}}
delete table inet {TABLE}
table inet {TABLE} {{
  counter escapes {{}}
  counter forwards {{}}
  set refused {{ type ipv4_addr . inet_service; }}
  chain names {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "{BRIDGE}" ip daddr != {NETWORK4} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {NS1_4}
    iifname "{BRIDGE}" ip6 daddr != {NETWORK6} meta l4proto {{ tcp, udp }} th dport 53 dnat ip6 to {NS1_6}
  }}
  chain borders {{
    type filter hook prerouting priority dstnat + 10; policy accept;
    iifname "{BRIDGE}" ip daddr != {{ {_LAB4}, 224.0.0.0/4, 255.255.255.255 }} counter name escapes drop
    iifname "{BRIDGE}" ip6 daddr != {{ {_LAB6}, fe80::/10, ff00::/8 }} counter name escapes drop
    iifname != {{ "{BRIDGE}", "lo" }} ip daddr {{ {_LAB4} }} drop
    iifname != {{ "{BRIDGE}", "lo" }} ip6 daddr {{ {_LAB6} }} drop
  }}
  chain passage {{
    type filter hook forward priority filter; policy accept;
    iifname "{BRIDGE}" oifname "{BRIDGE}" accept
    iifname "{BRIDGE}" counter name forwards drop
    oifname "{BRIDGE}" counter name forwards drop
  }}
  chain doors {{
    type filter hook input priority filter; policy accept;
    iifname != "{BRIDGE}" accept
    ip saddr . tcp dport @refused reject with tcp reset
    ct state established,related accept
    meta l4proto {{ icmp, ipv6-icmp }} accept
    meta l4proto {{ tcp, udp }} th dport 53 accept
    tcp dport {{ {APT_PORT}, {ACME_PORT}, {ACME_MANAGEMENT_PORT} }} accept
    drop
  }}
}}
"""


def _exists() -> bool:
    return BRIDGE in (name for _, name in socket.if_nameindex())


def up() -> None:
    """Make the bridge and load the rules. Safe to repeat."""
    if not Path("/proc/sys/net/ipv6/conf").exists():
        raise LabError("the kernel has no IPv6, which the lab needs: boot without ipv6.disable=1")
    # Rules first: no guest may ever run without them.
    run(["nft", "-f", "-"], what="loading the lab's packet rules", content=_RULES)
    lines = [] if _exists() else [f"link add {BRIDGE} address {HARDWARE_ADDRESS} type bridge"]
    # Single addresses and routes, not the whole networks: a machine that (against RFC 5737) uses other addresses of
    # these ranges goes on reaching them.
    lines += [f"addr replace {address}/32 dev {BRIDGE}" for address in OUTER4]
    lines += [f"addr replace {GATEWAY6}/128 dev {BRIDGE} nodad"]
    # Deprecated (preferred_lft 0): answered, but never the source of a connection of the outer machine.
    lines += [f"addr replace {address}/128 dev {BRIDGE} nodad preferred_lft 0" for address in OUTER6[1:]]
    lines += [f"link set {BRIDGE} up"]
    lines += [f"route replace {machine.ipv4}/32 dev {BRIDGE} src {GATEWAY4}" for machine in MACHINES.values()]
    lines += [f"route replace {machine.ipv6}/128 dev {BRIDGE} src {GATEWAY6}" for machine in MACHINES.values()]
    run(["ip", "-batch", "-"], what="making the lab's bridge", content="\n".join(lines) + "\n")


def ready() -> bool:
    """Whether bridge and rules are there."""
    return _exists() and TABLE in run(["nft", "list", "tables"], what="reading the packet rules")


def down() -> None:
    """Take bridge and rules away. Safe to repeat."""
    if _exists():
        run(["ip", "link", "delete", BRIDGE, "type", "bridge"], what="removing the lab's bridge")
    rules = f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\n"
    run(["nft", "-f", "-"], what="removing the lab's packet rules", content=rules)


def refuse(address: str, port: int) -> None:
    """Refuse TCP connections of a machine (IPv4) to a port of the outer machine, until `admit`."""
    run(["nft", "add", "element", "inet", TABLE, "refused", f"{{ {address} . {port} }}"], what="shutting a door")


def admit(address: str, port: int) -> None:
    """Take a refusal back."""
    run(["nft", "delete", "element", "inet", TABLE, "refused", f"{{ {address} . {port} }}"], what="opening a door")


def dropped(counter: str = "escapes") -> int:
    """Packets of guests to addresses outside the lab, dropped so far (`forwards`: dropped one hook later)."""
    answer = run(["nft", "-j", "list", "counter", "inet", TABLE, counter], what="reading the packet counter")
    entries: list[dict[str, Any]] = json.loads(answer)["nftables"]
    return sum(int(entry["counter"]["packets"]) for entry in entries if "counter" in entry)
