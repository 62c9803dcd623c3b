"""fail2ban: who guesses passwords is shut out."""

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import fail2ban


class Fail2ban(Service):
    """Owns /etc/fail2ban/jail.local and the filter for Dovecot's words; on at boot. Its bans go when it is removed.

    Not its data in /var/lib/fail2ban, nor the package's jails, which jail.local overrides.
    """

    def __init__(self, name: str, host: ServiceHost, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Fail2ban",
            name,
            ServiceArgs(
                host=host,
                service="fail2ban",
                files=fail2ban.files(host.settings),
                health=fail2ban.health(host.settings),
            ),
            opts,
        )
