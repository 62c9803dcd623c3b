"""Commands over SSH.

Owns the connection policy: the host key is always pinned, operators authenticate with their own SSH agent unless the
stack holds a deploy key, and secrets travel by stdin alone. It does not know what the commands do.

A command that changes the host comes after a staging (`stage`), which only puts its content into the state and yields
a new serial each time. The command has that serial in its command line and carries the content itself. So the state
knows of a change before the host does: if an update is cut off and the settings go back, the command runs again. The
staging also owns what undoes the command. A removal that is cut off has already dropped the command from the state, so
the next update runs it again. (docs/adr/0008)

A new host has forty commands, and the types of `pulumi_command` translate each argument of each, in every preview. So
the wrapper here registers the official type token with the official plugin's version instead; a test holds what it
sends against the official SDK's names and types.
"""

import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

import pulumi

from model.frozen import frozen
from model.settings import Settings

PLUGIN_VERSION: Final = version("pulumi-command")
"""The package pins the plugin: both carry the same version."""

MAX_CONNECTIONS = 8
"""Commands that may run at once: sshd's MaxStartups (sshd_config(5)) starts to drop at ten. The graph keeps it, by
staging services in a few rows, one after another; a test computes the width."""

_DIAL_ERROR_LIMIT = 2
_DIAL_TIMEOUT_SECONDS = 5


@frozen
class RemoteHost:
    """A machine reached over SSH."""

    connection: pulumi.Output[Mapping[str, object]]
    """How to reach it, secret."""
    host_key: str
    """The pinned ed25519 public key line: a new one means a new machine."""
    user: str
    """Who logs in: root, or a user that may `sudo -n`."""

    def shell(self, argv: Sequence[str]) -> str:
        """Return the command line that runs `argv` as root."""
        return shlex.join(["sudo", "-n", *argv] if self.user != "root" else argv)


def remote_host(settings: Settings) -> RemoteHost:
    """Describe how to reach the configured machine."""
    ssh = settings.ssh
    key = settings.ssh_private_key
    return RemoteHost(
        connection=pulumi.Output.secret(
            {
                "host": ssh.host,
                "port": float(ssh.port),
                "user": ssh.user,
                "hostKey": settings.host_key,
                "dialErrorLimit": _DIAL_ERROR_LIMIT,
                "perDialTimeout": _DIAL_TIMEOUT_SECONDS,
            }
            | ({} if key is None else {"privateKey": key.get_secret_value()})
        ),
        host_key=settings.host_key,
        user=ssh.user,
    )


class Command(pulumi.CustomResource):
    """A command run over SSH (`command:remote:Command`)."""

    def __init__(
        self, resource_name: str, properties: Mapping[str, pulumi.Input[object]], opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__("command:remote:Command", resource_name, {**properties, "stdout": None}, _like_the_sdk(opts))

    # Of a property the SDK reads the type once, of an annotation for every resource anew.
    @property
    @pulumi.getter
    def stdout(self) -> pulumi.Output[str]:
        """What the command said when it last ran."""
        stdout: pulumi.Output[str] = pulumi.get(self, "stdout")
        return stdout


def _like_the_sdk(opts: pulumi.ResourceOptions) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(
        opts, pulumi.ResourceOptions(version=PLUGIN_VERSION, additional_secret_outputs=["connection"])
    )


def command(
    name: str,
    host: RemoteHost,
    create: Sequence[str],
    *,
    opts: pulumi.ResourceOptions,
    stdin: pulumi.Input[str] | None = None,
    serial: pulumi.Output[str] | None = None,
    delete: Sequence[str] | None = None,
) -> Command:
    """Run `create` on the host whenever it, its stdin, the serial or the connection changes.

    `create` must be idempotent: a new host key or deploy key runs everything again. `delete` runs when the command
    leaves the program.
    """
    properties: dict[str, pulumi.Input[object]] = {
        "connection": host.connection,
        "create": host.shell(create),
        # Progress is worth a line, results are in the state already.
        "logging": "stderr",
        # The default would ask sshd to accept environment variables, which it refuses with a warning each time.
        "addPreviousOutputInEnv": False,
    }
    if stdin is not None:
        properties["stdin"] = stdin
    if serial is not None:
        properties["create"] = serial.apply(lambda text: host.shell([*create, "--serial", text]))
        if stdin is not None:
            # Unknown together with the serial, so that a preview shows a changed content once, at its staging.
            properties["stdin"] = pulumi.Output.all(stdin, serial).apply(lambda known: known[0])
    if delete is not None:
        properties["delete"] = host.shell(delete)
    return Command(name, properties, opts)


def stage(
    name: str,
    host: RemoteHost,
    what: str,
    part: str,
    content: pulumi.Input[str],
    *,
    parent: pulumi.Resource,
    depends_on: Sequence[pulumi.Resource],
    delete: Sequence[str] | None = None,
) -> Command:
    """Put the content of a later command into the state, and let its stdout be a new serial for that command."""
    return command(
        name,
        host,
        ["mailhostctl", "stage", what, part],
        stdin=content,
        delete=delete,
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=list(depends_on),
            # Replaced on request (`pulumi up --replace`), it must not undo the command that follows the new one.
            delete_before_replace=True,
        ),
    )


def serial_of(*staged: Command) -> pulumi.Output[str]:
    """Return one serial for what follows several stagings."""
    return pulumi.Output.all(*(one.stdout for one in staged)).apply(
        lambda serials: "-".join(text.strip() for text in serials)
    )
