"""The Cloudflare API service as a process of the lab; the service itself is `lab.cloudflare_api`."""

import sys
from pathlib import Path
from typing import Any

from lab import paths, processes, web
from lab.addresses import (
    CLOUDFLARE_PORT,
    CLOUDFLARE_TOKEN,
    CLOUDFLARE_URL,
    CLOUDFLARE_ZONES,
    GATEWAY4,
    POWERDNS_KEY,
    POWERDNS_URL,
)

_NAME = "cloudflare-api"


def delay_file(zone: str) -> Path:
    """Seconds, or `hold`: how late the name servers learn of a zone's changes through the API. Absent: at once."""
    return paths.folder("cloudflare", "delays") / zone


def mute_file(zone: str) -> Path:
    """While it is there, whoever makes or changes a record of the zone is not answered."""
    return paths.folder("cloudflare", "delays") / f"{zone}.mute"


def start() -> None:
    """Start the service and wait until it answers."""
    argv = [sys.executable, "-m", "lab.cloudflare_api", "--listen", f"{GATEWAY4}:{CLOUDFLARE_PORT}"]
    argv += ["--powerdns", POWERDNS_URL, "--key", POWERDNS_KEY, "--token", CLOUDFLARE_TOKEN]
    argv += [
        "--state",
        str(paths.folder("cloudflare") / "state.json"),
        "--delays",
        str(paths.folder("cloudflare", "delays")),
    ]
    argv += [word for zone in CLOUDFLARE_ZONES for word in ("--zone", zone)]
    processes.start(_NAME, argv, environment={"PYTHONPATH": str(paths.CLONE)})
    processes.wait_for(_NAME, lambda: processes.listening(GATEWAY4, CLOUDFLARE_PORT), timeout=30)


def stop() -> None:
    """Stop the service; the records stay in the DNS."""
    processes.stop(_NAME)


def request(method: str, path: str, body: object = None) -> Any:
    """One authenticated request; `path` below the API's base, for instance `zones`. Returns its `result`."""
    headers = {"Authorization": f"Bearer {CLOUDFLARE_TOKEN}"}
    return web.ask_json(f"{CLOUDFLARE_URL}{path}", method=method, headers=headers, body=body)["result"]


def records(domain: str) -> list[dict[str, Any]]:
    """All records of a zone, as the API lists them."""
    (zone,) = request("GET", f"zones?name={domain}")
    found: list[dict[str, Any]] = request("GET", f"zones/{zone['id']}/dns_records?per_page=1000")
    return found


def delete_records(domain: str) -> None:
    """Delete every record of a zone."""
    (zone,) = request("GET", f"zones?name={domain}")
    for record in records(domain):
        request("DELETE", f"zones/{zone['id']}/dns_records/{record['id']}")
