"""What judges and counts mail: rspamd, and the Redis it remembers with. The resolver it asks is Postfix's too."""

from collections.abc import Sequence

import pulumi

from components.antivirus import Antivirus
from components.redis import Redis
from components.rspamd import Rspamd, RspamdArgs
from components.service import SecretFile, Service, ServiceHost
from model.frozen import frozen


@frozen
class SpamFilterArgs:
    """Inputs of `SpamFilter`."""

    host: ServiceHost
    """With its resolver, which is asked from the first second on."""
    keys: Sequence[SecretFile] = ()
    """Private DKIM keys, when rspamd signs."""
    published: Sequence[pulumi.Resource] = ()
    """The keys' records are visible: a signature nobody can verify is worse than none."""


class SpamFilter(pulumi.ComponentResource):
    """Two services or three, one after another: they hold one SSH connection while staging, and one while applying."""

    staged: pulumi.Resource
    """The last file is staged: the next service may use the connection."""
    applied: pulumi.Resource
    """rspamd answers on its milter socket."""

    def __init__(self, name: str, args: SpamFilterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:SpamFilter", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        before: Service = Redis(f"{name}-redis", args.host, child)
        if args.host.settings.spam.antivirus:
            before = Antivirus(f"{name}-antivirus", args.host.after(before.staged, before.applied), child)
        rspamd = Rspamd(
            f"{name}-rspamd",
            RspamdArgs(
                host=args.host.after(before.staged, before.applied),
                keys=args.keys,
                published=args.published,
            ),
            child,
        )
        self.staged, self.applied = rspamd.staged, rspamd.applied
        self.register_outputs({})
