"""Names of the lab: two PowerDNS servers with a signed root, and a validating Unbound in front.

Owns every zone: the root, `example.`, one zone per domain, and the reverse zones, all signed. The zones of the mail
hosts are made empty: their records come through the Cloudflare API service. Both name servers read one database; a test
can give the second one an old copy of it, or stop it (`lab.faults`). Nothing is cached longer than it takes to answer.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal

import dns.flags
import dns.message
import dns.query
import dns.rcode

from lab import keys, outside, paths, processes, web
from lab.addresses import (
    CLOUDFLARE_ZONES,
    MACHINES,
    NAMESERVERS,
    NETWORK4,
    NETWORK6,
    NS1_4,
    NS1_6,
    NS2_4,
    NS2_6,
    OUTSIDE,
    POWERDNS_KEY,
    POWERDNS_PORT,
    POWERDNS_URL,
    RESOLVER4,
    RESOLVER6,
    TLD,
)
from lab.addresses import GATEWAY4 as OUTER
from lab.errors import LabError

_TRIES: Final = 30
_SCHEMA: Final = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
_REVERSE4: Final = "113.0.203.in-addr.arpa"
_REVERSE6: Final = "3.1.1.0.8.b.d.0.1.0.0.2.ip6.arpa"
_TTL: Final = 5
"""Seconds; of the lab's own records. So short that no test ever waits for a cache."""
_PDNS: Final = """launch=gsqlite3
gsqlite3-dnssec=yes
gsqlite3-database={database}
gsqlite3-pragma-synchronous=0
local-address={addresses}
socket-dir={folder}
daemon=no
guardian=no
security-poll-suffix=
version-string=anonymous
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
domain-metadata-cache-ttl=0
dnssec-key-cache-ttl=0
receiver-threads=1
distributor-threads=1
default-ttl=60
default-soa-content=ns1.example hostmaster.example 0 10800 3600 604800 5
"""
_API: Final = f"""api=yes
api-key={POWERDNS_KEY}
webserver=yes
webserver-address={OUTER}
webserver-port={POWERDNS_PORT}
webserver-allow-from={OUTER},127.0.0.1
webserver-loglevel=none
"""
_UNBOUND: Final = """server:
  interface: {resolver4}
  interface: {resolver6}
  access-control: {network4} allow
  access-control: {network6} allow
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  log-time-ascii: yes
  do-daemonize: no
  module-config: "validator iterator"
  trust-anchor: "{anchor}"
  # Unbound answers for documentation ranges itself otherwise.
  local-zone: "{reverse4}." nodefault
  local-zone: "8.b.d.0.1.0.0.2.ip6.arpa." nodefault
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
  infra-host-ttl: 1
remote-control:
  control-enable: yes
  control-interface: "{folder}/control"
forward-zone:
  name: "."
  # Only the first: what the second one holds is a matter between it and whoever asks it.
  forward-addr: {server}
  forward-no-cache: yes
"""


def database() -> Path:
    """The database of the authoritative servers."""
    return paths.running() / "pdns" / "zones.db"


def api(method: str, path: str, body: object = None) -> Any:
    """One request to PowerDNS's REST API; `path` below the server, for instance `/zones`."""
    url = f"{POWERDNS_URL}/api/v1/servers/localhost{path}"
    ask = partial(web.ask_json, url, method=method, body=body, headers={"X-API-Key": POWERDNS_KEY})
    for _ in range(_TRIES - 1):
        try:
            return ask()
        except LabError as error:
            # Somebody else is writing: for SQLite "database is locked" then. A PATCH may be repeated.
            if method != "PATCH" or "was refused: 500" not in str(error):
                raise
        time.sleep(0.1)
    return ask()


def record(name: str, kind: str, values: Sequence[str], ttl: int = _TTL) -> dict[str, Any]:
    """One record set as the REST API takes it."""
    contents = [{"content": value, "disabled": False} for value in values]
    return {"name": f"{name}.", "type": kind, "ttl": ttl, "changetype": "REPLACE", "records": contents}


def validated(zone: str) -> Literal["secure", "insecure", "bogus"]:
    """What the lab's resolver makes of a zone's signatures (RFC 4035 section 4.3)."""
    asked = dns.message.make_query(zone, "SOA", want_dnssec=True)
    answer = dns.query.udp(asked, RESOLVER4, timeout=10)
    if answer.rcode() == dns.rcode.SERVFAIL:
        return "bogus"
    return "secure" if answer.flags & dns.flags.AD else "insecure"


def forget_bogus() -> None:
    """Let the lab's resolver forget what it could not prove, which it remembers for a minute otherwise."""
    configuration = str(paths.folder("unbound") / "unbound.conf")
    processes.run(["unbound-control", "-q", "-c", configuration, "flush_bogus"], what="forgetting bogus answers")


@contextmanager
def served(zone: str, *sets: dict[str, Any]) -> Iterator[None]:
    """Have record sets, made by `record()`, in one of the zones for a while; what was there is put back."""
    path = _url(zone)
    names = {(entry["name"], entry["type"]) for entry in sets}
    before = [entry for entry in api("GET", path)["rrsets"] if (entry["name"], entry["type"]) in names]
    kept = {(entry["name"], entry["type"]) for entry in before}
    api("PATCH", path, {"rrsets": list(sets)})
    try:
        yield
    finally:
        back = [{**entry, "changetype": "REPLACE"} for entry in before]
        back += [{**entry, "changetype": "DELETE"} for entry in sets if (entry["name"], entry["type"]) not in kept]
        api("PATCH", path, {"rrsets": back})


def _pdns(name: str, addresses: Sequence[str], extra: str = "", *, data: Path | None = None) -> None:
    folder = paths.folder(f"pdns-{name}")
    text = _PDNS.format(database=data or database(), addresses=", ".join(addresses), folder=folder) + extra
    (folder / "pdns.conf").write_text(text)
    processes.start(f"pdns-{name}", ["pdns_server", f"--config-dir={folder}"])
    processes.wait_for(f"pdns-{name}", lambda: processes.listening(addresses[0], 53), timeout=15)


def start_second(data: Path | None = None) -> None:
    """Start the second name server, on the common database or on a copy of it."""
    _pdns("ns2", (NS2_4, NS2_6), data=data)


def stop_second() -> None:
    """Stop the second name server."""
    processes.stop("pdns-ns2")


def start_authoritative() -> None:
    """Start both PowerDNS servers, and make the zones when there are none yet."""
    if not database().exists():
        paths.folder("pdns")
        draft = database().with_suffix(".new")
        draft.unlink(missing_ok=True)
        with closing(sqlite3.connect(draft)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA.read_text())
        draft.rename(database())
    _pdns("ns1", (NS1_4, NS1_6), _API)
    processes.wait_for("pdns-ns1", lambda: processes.listening(OUTER, POWERDNS_PORT), timeout=15)
    # The root comes last: where it exists, all the others do.
    if "." not in zones():
        _make_zones()
    start_second()


def start_resolver() -> None:
    """Start Unbound."""
    folder = paths.folder("unbound")
    text = _UNBOUND.format(
        resolver4=RESOLVER4,
        resolver6=RESOLVER6,
        network4=NETWORK4,
        network6=NETWORK6,
        folder=folder,
        anchor=keys.root_ds(),
        reverse4=_REVERSE4,
        server=NS1_4,
    )
    (folder / "unbound.conf").write_text(text)
    processes.start("unbound", ["unbound", "-d", "-c", str(folder / "unbound.conf")])
    processes.wait_for("unbound", lambda: processes.listening(RESOLVER4, 53), timeout=15)


def zones() -> set[str]:
    """Names of all zones; the root is `.`, the others are without a trailing dot."""
    return {zone["name"].rstrip(".") or "." for zone in api("GET", "/zones")}


def _url(zone: str) -> str:
    return "/zones/=2E" if zone == "." else f"/zones/{zone}."


def _make(zone: str, records: Sequence[dict[str, Any]] = (), *, key: str | None = None) -> list[str]:
    """Make one signed zone and return its DS records. `key` = its signing key in BIND's format, else a new one."""
    body = {
        "name": "." if zone == "." else f"{zone}.",
        "kind": "Native",
        "nameservers": [f"{server}." for server in NAMESERVERS],
        "api_rectify": True,
        "dnssec": key is None,
        "rrsets": list(records),
    }
    if zone in zones():
        api("DELETE", _url(zone))  # half-made by a run that was killed
    api("POST", "/zones", body)
    if key is not None:
        api("POST", f"{_url(zone)}/cryptokeys", {"keytype": "csk", "active": True, "privatekey": key})
        api("PUT", f"{_url(zone)}/rectify")
    signing = api("GET", f"{_url(zone)}/cryptokeys")
    return [ds for entry in signing for ds in entry["ds"] if ds.split()[2] == "2"]


def _delegation(zone: str, ds: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield record(zone, "NS", [f"{server}." for server in NAMESERVERS])
    yield record(zone, "DS", ds)


def _make_zones() -> None:
    top: list[dict[str, Any]] = []
    for server, four, six in ((NAMESERVERS[0], NS1_4, NS1_6), (NAMESERVERS[1], NS2_4, NS2_6)):
        top += [record(server, "A", [four]), record(server, "AAAA", [six])]
    contents = {zone: list[dict[str, Any]]() for zone in CLOUDFLARE_ZONES}
    contents[OUTSIDE.domain] = [record(name, kind, values) for name, kind, values in outside.records()]
    for zone, records in contents.items():
        top += _delegation(zone, _make(zone, records))
    root = [*_delegation(TLD, _make(TLD, top))]
    for reverse in (_REVERSE4, _REVERSE6):
        pointers = [
            record(ip_address(address).reverse_pointer, "PTR", [f"{machine.hostname}."])
            for machine in MACHINES.values()
            for address in (machine.ipv4, machine.ipv6)
        ]
        own = [entry for entry in pointers if entry["name"].endswith(f"{reverse}.")]
        root += _delegation(reverse, _make(reverse, own))
    _make(".", root, key=keys.root_private())


def txt(value: str) -> str:
    """A TXT value as canonical quoted chunks of at most 255 bytes (RFC 1035 section 3.3)."""
    return " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))
