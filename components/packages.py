"""The Debian packages, in one apt transaction that starts nothing."""

from collections.abc import Sequence

import pulumi

from components.remote import RemoteHost, command, serial_of, stage
from model.frozen import frozen


@frozen
class PackagesArgs:
    """Inputs of `Packages`."""

    host: RemoteHost
    names: Sequence[str]
    after: Sequence[pulumi.Resource]


class Packages(pulumi.ComponentResource):
    """Installs the daemons without starting them: each starts once its configuration is applied.

    Destroy leaves the packages installed: removing one could take the operator's own along.
    """

    versions: pulumi.Output[str]
    """Installed versions, one `name version` per line."""
    installed: pulumi.Resource

    def __init__(self, name: str, args: PackagesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:Packages", name, {}, opts)
        # On stdin, so that a preview shows line by line which packages come.
        names = "".join(f"{name}\n" for name in args.names)
        staged = stage(f"{name}-names", args.host, "packages", "names", names, parent=self, depends_on=args.after)
        install = command(
            f"{name}-install",
            args.host,
            ["mailhostctl", "packages"],
            stdin=names,
            serial=serial_of(staged),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.installed = install
        self.versions = install.stdout
        self.register_outputs({"versions": self.versions})
