"""rspamd: judges what comes in, counts what users send."""

from collections.abc import Sequence

import pulumi

from components.mail_domain import KeyPair
from components.service import SecretFile, Service, ServiceArgs, ServiceHost
from model import rspamd
from model.dkim import ed25519_seed
from model.domains import ServedDomain
from model.frozen import frozen


@frozen
class RspamdArgs:
    """Inputs of `Rspamd`."""

    host: ServiceHost
    """Resolver and Redis answer there: rspamd asks both from its first second on."""
    keys: Sequence[SecretFile] = ()
    published: Sequence[pulumi.Resource] = ()


def rspamd_keys(domain: ServedDomain, pairs: Sequence[KeyPair]) -> Sequence[SecretFile]:
    """Return a domain's private keys as files that rspamd can read; none where it does not sign."""
    files: list[tuple[str, pulumi.Input[str]]] = []
    for pair in pairs:
        if pair.key.on_host and pair.ed25519_pem is not None:
            places = rspamd.signing_keys(domain, pair.key.selector)
            files += [(places.rsa, pair.rsa_pem), (places.ed25519, pair.ed25519_pem.apply(ed25519_seed))]
    return [SecretFile(path=path, content=content, mode="0640", owner="root:_rspamd") for path, content in files]


class Rspamd(Service):
    """Owns our files in /etc/rspamd, the milter socket in Postfix's chroot and the learning socket in /run/rspamd."""

    def __init__(self, name: str, args: RspamdArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        settings = args.host.settings
        password = rspamd.password_file(settings)
        passwords = (
            [SecretFile(path=password.path, content=password.content, mode=password.mode, owner=password.owner)]
            if password
            else []
        )
        super().__init__(
            "mailhost:index:Rspamd",
            name,
            ServiceArgs(
                host=args.host,
                service="rspamd",
                files=rspamd.files(settings),
                secret_files=[*passwords, *args.keys],
                health=rspamd.health(settings),
                after=args.published if args.keys else (),
            ),
            opts,
        )
