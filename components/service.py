"""A daemon and its files: staged, the secret ones by a command of their own, and applied together.

Every daemon's component is a `Service`. Staging never touches a live file; the one apply has the digests of all files
in its input, so it runs exactly when one of them changed, and the host validates, swaps, reloads and checks as one
transaction (see host/mailhostctl).
"""

from collections.abc import Sequence
from dataclasses import replace

import pulumi

from components.remote import RemoteHost, command
from model.files import ConfigFile
from model.frozen import frozen
from model.manifest import bundle, manifest
from model.settings import Settings


@frozen
class ServiceHost:
    """A machine on which services can be applied, and what all of them need of it."""

    remote: RemoteHost
    settings: Settings
    helper: pulumi.Resource
    """mailhostctl is there: files can be staged."""
    packages: pulumi.Resource
    """The daemons are there: files can be applied."""

    def after(self, staged: pulumi.Resource, applied: pulumi.Resource | None = None) -> "ServiceHost":
        """Return the host for a service that takes its turn: one service more at once is an SSH connection more.

        Its files are staged once `staged` is, and applied once `applied` is, where that is given.
        """
        return replace(self, helper=staged, packages=applied or self.packages)


@frozen
class SecretFile:
    """A file whose content is secret: never shown, neither it nor its digest."""

    path: str
    content: pulumi.Input[str]
    mode: str = "0600"
    owner: str = "root:root"


@frozen
class ServiceArgs:
    """Inputs of `Service`."""

    host: ServiceHost
    service: str
    """The service's name to mailhostctl."""
    files: Sequence[ConfigFile] = ()
    secret_files: Sequence[SecretFile] = ()
    health: Sequence[str] = ()
    """Probes that must succeed after a reload, in mailhostctl's notation."""
    requires: Sequence[str] = ()
    """Paths that must exist on the host before the files may go live."""
    after: Sequence[pulumi.Resource] = ()
    """What must be there before the files may go live; staging does not wait for it."""


class Service(pulumi.ComponentResource):
    """Stages the files of one daemon under /var/lib/mailhost and applies them as a new generation.

    All files travel as one text (why: docs/adr/0007), the secret ones as another after it, so that a service holds one
    SSH connection at a time.
    """

    staged: pulumi.Resource
    """All its files are staged: the next service may use the connection."""
    applied: pulumi.Resource
    """Depend on it to run only once the daemon runs with this configuration and answers."""

    def __init__(self, token: str, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(token, name, {}, opts)
        self.staged = args.host.helper
        if args.files:
            self.staged = self._stage(name, args, "files", bundle(args.files))
        secrets = _secrets(args) if args.secret_files else None
        if secrets is not None:
            self.staged = self._stage(name, args, "secrets", secrets.apply(bundle))
        self.applied = command(
            f"{name}-apply",
            args.host.remote,
            ["mailhostctl", "apply", args.service],
            stdin=_manifest(args, secrets),
            delete=["mailhostctl", "remove", args.service],
            # The manifest carries the digests; the files themselves and the conditions must be there first.
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[self.staged, args.host.packages, *args.after],
                # Asked to replace it (`pulumi up --replace`), the engine would remove the service after applying it.
                delete_before_replace=True,
            ),
        )
        self.register_outputs({})

    def _stage(self, name: str, args: ServiceArgs, part: str, content: pulumi.Input[str]) -> pulumi.Resource:
        return command(
            f"{name}-{part}",
            args.host.remote,
            ["mailhostctl", "stage", args.service, part],
            stdin=content,
            delete=["mailhostctl", "unstage", args.service, part],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.staged]),
        )


def _secrets(args: ServiceArgs) -> pulumi.Output[list[ConfigFile]]:
    def files(contents: list[str]) -> list[ConfigFile]:
        return [
            ConfigFile(path=file.path, content=content, mode=file.mode, owner=file.owner)
            for file, content in zip(args.secret_files, contents, strict=True)
        ]

    return pulumi.Output.all(*(pulumi.Output.secret(file.content) for file in args.secret_files)).apply(files)


def _manifest(args: ServiceArgs, secrets: pulumi.Output[list[ConfigFile]] | None) -> pulumi.Input[str]:
    """Keep a manifest without secrets a plain text, so that a preview shows it line by line."""
    if secrets is None:
        return manifest(args.files, args.health, args.requires)
    return secrets.apply(lambda files: manifest([*args.files, *files], args.health, args.requires))
