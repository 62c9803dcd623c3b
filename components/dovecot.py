"""Dovecot: IMAP, POP3, local delivery and the password check for submission."""

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import dovecot
from model.frozen import frozen


@frozen
class DovecotArgs:
    """Inputs of `Dovecot`."""

    host: ServiceHost
    certificate: pulumi.Resource
    accounts: pulumi.Resource


class Dovecot(Service):
    """Owns /etc/dovecot/dovecot.conf, the user vmail, and the auth and LMTP sockets in Postfix's chroot.

    Listens on 143, 993, 110 and 995 as configured. Mail lives in /var/vmail, which destroy never touches.
    """

    def __init__(self, name: str, args: DovecotArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Dovecot",
            name,
            ServiceArgs(
                host=args.host,
                service="dovecot",
                files=dovecot.files(args.host.settings),
                health=dovecot.health(args.host.settings),
                requires=dovecot.requires(args.host.settings),
                after=[args.certificate, args.accounts],
            ),
            opts,
        )
