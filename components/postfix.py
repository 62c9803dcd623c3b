"""Postfix: receives mail for the domain and sends its users' mail."""

from collections.abc import Sequence

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import postfix
from model.frozen import frozen


@frozen
class PostfixArgs:
    """Inputs of `Postfix`."""

    host: ServiceHost
    certificate: pulumi.Resource
    dovecot: pulumi.Resource
    asked: Sequence[pulumi.Resource]
    """Who signs, judges and counts mail, resolves names and knows policies: without them every mail is put off."""


class Postfix(Service):
    """Owns main.cf, master.cf and the maps in /etc/postfix, and whom Postfix asks for names.

    Listens on 25, 587 and 465 as configured.

    Starts once the certificate exists, Dovecot answers on its sockets and the signer on its own.
    """

    def __init__(self, name: str, args: PostfixArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Postfix",
            name,
            ServiceArgs(
                host=args.host,
                service="postfix",
                files=postfix.files(args.host.settings),
                health=postfix.health(args.host.settings),
                requires=postfix.requires(args.host.settings),
                after=[args.certificate, args.dovecot, *args.asked],
            ),
            opts,
        )
