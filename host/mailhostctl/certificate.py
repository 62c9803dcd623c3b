"""The certificate: certbot's standalone challenge on port 80.

Renewal is not here: its hook is a managed file of service `certificate`, which also keeps the timer running.
"""

from __future__ import annotations

from mailhostctl import durable
from mailhostctl.paths import Root
from mailhostctl.system import must


def obtain(root: Root, hostname: str, *, server: str, contact: str) -> None:
    """Asks for a certificate of `hostname`, unless there is one of the same server that is not due for renewal."""
    lineage = durable.read(root.live(f"/etc/letsencrypt/renewal/{hostname}.conf"))
    moved = lineage is not None and f"server = {server}" not in lineage.decode().splitlines()
    command = ["certbot", "certonly", "--standalone", "--non-interactive", "--agree-tos", "--no-eff-email"]
    command += ["--server", server, "--email", contact, "--cert-name", hostname, "--domain", hostname]
    command += ["--force-renewal"] if moved else ["--keep-until-expiring"]
    must(command, timeout=300)
