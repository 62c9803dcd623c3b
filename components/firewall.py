"""The firewall: ufw with the ports of the services that are on."""

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import firewall


class Firewall(Service):
    """Owns ufw's rules and its state: /etc/ufw/user.rules, user6.rules and ufw.conf; on at boot.

    The SSH port is the first rule, and the host refuses rules that would end the present connection.
    """

    def __init__(self, name: str, host: ServiceHost, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Firewall",
            name,
            ServiceArgs(
                host=host,
                service="firewall",
                files=firewall.files(host.settings),
            ),
            opts,
        )
