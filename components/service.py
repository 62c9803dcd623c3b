"""A daemon and its files: staged, the secret ones by a command of their own, and applied together.

Every daemon's component is a `Service`. Staging never touches a live file. The one apply carries all files, so it runs
exactly when one of them changed, and the host validates, swaps, reloads and checks as one transaction (see
host/mailhostctl).
"""

from collections.abc import Sequence
from dataclasses import replace

import pulumi

from components.remote import Command, RemoteHost, command, serial_of, stage
from model.bundle import bundle
from model.files import ConfigFile
from model.frozen import frozen
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
    """Stages the files of one daemon, then applies them as a new generation below /var/lib/mailhost.

    All files travel as one text (why: docs/adr/0007), the secret ones as another after it, so that a service holds one
    SSH connection at a time. When the service leaves the program, its first staging removes it from the host.
    """

    staged: pulumi.Resource
    """All its files are staged: the next service may use the connection."""
    applied: pulumi.Resource
    """Depend on it to run only once the daemon runs with this configuration and answers."""

    def __init__(self, token: str, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(token, name, {}, opts)
        parts: dict[str, pulumi.Input[str]] = {"files": bundle(args.files, args.health, args.requires)}
        if args.secret_files:
            parts["secrets"] = _secrets(args)
        staged: list[Command] = []
        for part, text in parts.items():
            staged.append(
                stage(
                    f"{name}-{part}",
                    args.host.remote,
                    args.service,
                    part,
                    text,
                    parent=self,
                    depends_on=[staged[-1] if staged else args.host.helper],
                    delete=None if staged else ["mailhostctl", "remove", args.service],
                )
            )
        self.staged = staged[-1]
        self.applied = command(
            f"{name}-apply",
            args.host.remote,
            ["mailhostctl", "apply", args.service],
            stdin=pulumi.Output.concat(*parts.values()),
            serial=serial_of(*staged),
            # Conditions, not values: the daemon is installed, and what it needs works.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.host.packages, *args.after]),
        )
        self.register_outputs({})


def _secrets(args: ServiceArgs) -> pulumi.Output[str]:
    def text(contents: list[str]) -> str:
        return bundle(
            ConfigFile(path=file.path, content=content, mode=file.mode, owner=file.owner)
            for file, content in zip(args.secret_files, contents, strict=True)
        )

    return pulumi.Output.all(*(pulumi.Output.secret(file.content) for file in args.secret_files)).apply(text)
