"""OpenDKIM: signs what the host's users send."""

from collections.abc import Sequence

import pulumi

from components.mail_domain import KeyPair
from components.service import SecretFile, Service, ServiceArgs, ServiceHost
from model import opendkim
from model.domains import ServedDomain
from model.frozen import frozen


@frozen
class OpenDkimArgs:
    """Inputs of `OpenDkim`."""

    host: ServiceHost
    keys: Sequence[SecretFile]
    """The private keys of each served domain, see `opendkim_keys`."""
    published: Sequence[pulumi.Resource]
    """The keys' records are visible: a signature nobody can verify is worse than none."""


def opendkim_keys(domain: ServedDomain, pairs: Sequence[KeyPair]) -> Sequence[SecretFile]:
    """Return a domain's private keys as files that OpenDKIM can read."""
    return [
        SecretFile(
            path=opendkim.private_key_path(domain, pair.key.selector),
            content=pair.rsa_pem,
            # Read as this user, and refused when others can read it (RequireSafeKeys, opendkim.conf(5)).
            mode="0600",
            owner="opendkim:opendkim",
        )
        for pair in pairs
        if pair.key.on_host
    ]


class OpenDkim(Service):
    """Owns /etc/opendkim.conf, /etc/opendkim/, the keys in /etc/dkimkeys/ and the milter socket in Postfix's chroot.

    Not the DNS records (see `MailDomain`).
    """

    def __init__(self, name: str, args: OpenDkimArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:OpenDkim",
            name,
            ServiceArgs(
                host=args.host,
                service="opendkim",
                files=opendkim.files(args.host.settings),
                secret_files=args.keys,
                health=opendkim.health(args.host.settings),
                after=args.published,
            ),
            opts,
        )
