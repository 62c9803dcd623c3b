"""The firewall: ufw with the ports of the services that are on."""

from dataclasses import dataclass

import pulumi

from components.remote import RemoteHost
from components.service import Service, ServiceArgs
from model import firewall
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class FirewallArgs:
    """Inputs of `Firewall`."""

    host: RemoteHost
    settings: Settings
    helper: pulumi.Resource
    packages: pulumi.Resource


class Firewall(Service):
    """Owns ufw's rules and its state: /etc/ufw/user.rules, user6.rules and ufw.conf; on at boot.

    The SSH port is the first rule, and the host refuses rules that would end the present connection.
    """

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Firewall",
            name,
            ServiceArgs(
                host=args.host,
                service="firewall",
                files=firewall.files(args.settings),
                stage_after=[args.helper],
                apply_after=[args.packages],
            ),
            opts,
        )
