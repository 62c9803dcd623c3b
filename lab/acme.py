"""The ACME server of the lab: Pebble, validating over the lab's DNS and port 80 of the machine."""

import json
from pathlib import Path

from lab import keys, paths, processes, web
from lab.addresses import ACME_MANAGEMENT, ACME_MANAGEMENT_PORT, ACME_PORT, GATEWAY4, RESOLVER4

_NAME = "pebble"


def start() -> None:
    """Start Pebble and wait until it answers. Its issuing authority is new at each start."""
    folder = paths.folder("pebble")
    certificate, key = keys.api_certificate()
    (folder / "api.pem").write_text(certificate)
    (folder / "api.key").touch(0o600)
    (folder / "api.key").write_text(key)
    settings = {
        "listenAddress": f"{GATEWAY4}:{ACME_PORT}",
        "managementListenAddress": f"{GATEWAY4}:{ACME_MANAGEMENT_PORT}",
        "certificate": str(folder / "api.pem"),
        "privateKey": str(folder / "api.key"),
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (folder / "config.json").write_text(json.dumps({"pebble": settings}, indent=2))
    processes.start(
        _NAME,
        ["pebble", "-config", str(folder / "config.json"), "-strict=false", "-dnsserver", f"{RESOLVER4}:53"],
        # Pebble's own obstacles for client authors: random delays and refused nonces.
        environment={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"},
    )
    processes.wait_for(_NAME, answers, timeout=15)
    root = web.ask(f"{ACME_MANAGEMENT}/roots/0", authority=keys.api_authority()).decode("ascii")
    if not roots_file().exists() or root not in roots_file().read_text():
        with roots_file().open("a") as known:
            known.write(root)


def answers() -> bool:
    """Whether a certificate could be issued now."""
    return processes.listening(GATEWAY4, ACME_PORT) and processes.listening(GATEWAY4, ACME_MANAGEMENT_PORT)


def issuing_roots() -> str:
    """Certificates (PEM) that clients of the mail hosts must trust: the root of each start, the present one last."""
    return roots_file().read_text()


def roots_file() -> Path:
    """Where `issuing_roots` lies."""
    return paths.running() / "pebble" / "roots.pem"
