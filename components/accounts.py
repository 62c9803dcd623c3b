"""The mailboxes and their password hashes."""

import pulumi

from components.service import SecretFile, Service, ServiceArgs, ServiceHost
from model import accounts


class Accounts(Service):
    """Owns /etc/dovecot/users (passwd-file). Dovecot reads it anew when it changes, so nothing is reloaded."""

    def __init__(self, name: str, host: ServiceHost, opts: pulumi.ResourceOptions | None = None) -> None:
        users = accounts.users_file(host.settings)
        super().__init__(
            "mailhost:index:Accounts",
            name,
            ServiceArgs(
                host=host,
                service="accounts",
                secret_files=[SecretFile(path=users.path, content=users.content, mode=users.mode, owner=users.owner)],
            ),
            opts,
        )
