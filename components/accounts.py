"""The mailboxes and their password hashes."""

from dataclasses import dataclass

import pulumi

from components.remote import RemoteHost
from components.service import SecretFile, Service, ServiceArgs
from model import accounts
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class AccountsArgs:
    """Inputs of `Accounts`."""

    host: RemoteHost
    settings: Settings
    helper: pulumi.Resource
    packages: pulumi.Resource


class Accounts(Service):
    """Owns /etc/dovecot/users (passwd-file). Dovecot reads it anew when it changes, so nothing is reloaded."""

    def __init__(self, name: str, args: AccountsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        users = accounts.users_file(args.settings)
        super().__init__(
            "mailhost:index:Accounts",
            name,
            ServiceArgs(
                host=args.host,
                service="accounts",
                files=[],
                secret_files=[SecretFile(path=users.path, content=users.content, mode=users.mode, owner=users.owner)],
                stage_after=[args.helper],
                apply_after=[args.packages],
            ),
            opts,
        )
