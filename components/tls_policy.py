"""What receiving domains demand of who sends them mail."""

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import tls_policy


class TlsPolicy(Service):
    """Owns /etc/mta-sts-daemon.yml and, where DANE is on, mailhost-tls-policy.socket, which Postfix asks."""

    def __init__(self, name: str, host: ServiceHost, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:TlsPolicy",
            name,
            ServiceArgs(
                host=host,
                service="tls-policy",
                files=tls_policy.files(host.settings),
                health=tls_policy.health(host.settings),
            ),
            opts,
        )
