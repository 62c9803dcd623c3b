"""OpenDKIM: signs what the host's users send."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.service import SecretFile, Service, ServiceArgs, ServiceHost
from model import opendkim


@dataclass(frozen=True, kw_only=True)
class OpenDkimArgs:
    """Inputs of `OpenDkim`."""

    host: ServiceHost
    private_key: pulumi.Input[str]
    published: Sequence[pulumi.Resource]
    """The key's record is visible: a signature nobody can verify is worse than none."""


class OpenDkim(Service):
    """Owns /etc/opendkim.conf, /etc/opendkim/, the key in /etc/dkimkeys/ and the milter socket in Postfix's chroot.

    Not the DNS record (see `DkimKey`).
    """

    def __init__(self, name: str, args: OpenDkimArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:OpenDkim",
            name,
            ServiceArgs(
                host=args.host,
                service="opendkim",
                files=opendkim.files(args.host.settings),
                secret_files=[
                    SecretFile(
                        path=opendkim.private_key_path(args.host.settings),
                        content=args.private_key,
                        # Read as this user, and refused when others can read it (RequireSafeKeys, opendkim.conf(5)).
                        mode="0600",
                        owner="opendkim:opendkim",
                    )
                ],
                health=opendkim.health(args.host.settings),
                after=args.published,
            ),
            opts,
        )
