"""ClamAV: looks for viruses when rspamd asks."""

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import antivirus


class Antivirus(Service):
    """Owns /etc/clamav/clamd.conf; runs clamd and freshclam, which fetches the signatures. 1.2 GB of memory."""

    def __init__(self, name: str, host: ServiceHost, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Antivirus",
            name,
            ServiceArgs(
                host=host,
                service="antivirus",
                files=antivirus.files(host.settings),
                health=antivirus.health(host.settings),
            ),
            opts,
        )
