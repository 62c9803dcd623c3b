"""The resolver: Unbound, for this host alone."""

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import resolver


class Resolver(Service):
    """Owns /etc/unbound/unbound.conf.d/mailhost.conf and a validating resolver on 127.0.0.1.

    Not /etc/resolv.conf: what else runs on the host goes on asking whom it asked before.
    """

    def __init__(self, name: str, host: ServiceHost, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Resolver",
            name,
            ServiceArgs(
                host=host,
                service="resolver",
                files=resolver.files(host.settings),
                health=resolver.health(host.settings),
            ),
            opts,
        )
