"""Commands and uploads over SSH: the only module that imports pulumi_command.

Owns the connection policy: the host key is always pinned, operators authenticate with their own SSH agent unless the
stack holds a deploy key, and secrets travel by stdin alone. It does not know what the commands do.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_command import remote

from model.settings import Settings

MAX_CONNECTIONS = 8
"""Commands that may run at once: sshd's MaxStartups (sshd_config(5)) starts to drop at ten. The graph keeps it, by
staging the files of one service one after another; a test computes the width."""

_DIAL_ERROR_LIMIT = 2
_DIAL_TIMEOUT_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class RemoteHost:
    """A machine reached over SSH."""

    connection: remote.ConnectionArgs
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
        connection=remote.ConnectionArgs(
            host=ssh.host,
            port=ssh.port,
            user=ssh.user,
            host_key=settings.host_key,
            private_key=None if key is None else pulumi.Output.secret(key.get_secret_value()),
            dial_error_limit=_DIAL_ERROR_LIMIT,
            per_dial_timeout=_DIAL_TIMEOUT_SECONDS,
        ),
        host_key=settings.host_key,
        user=ssh.user,
    )


def command(
    name: str,
    host: RemoteHost,
    create: Sequence[str],
    *,
    opts: pulumi.ResourceOptions,
    stdin: pulumi.Input[str] | None = None,
    delete: Sequence[str] | None = None,
) -> remote.Command:
    """Run `create` on the host whenever it, its stdin or the connection changes; `delete` when it leaves the program.

    `create` must be idempotent: a new host key or deploy key runs everything again.
    """
    return remote.Command(
        name,
        connection=host.connection,
        create=host.shell(create),
        delete=None if delete is None else host.shell(delete),
        stdin=stdin,
        # Progress is worth a line, results are in the state already.
        logging=remote.Logging.STDERR,
        # The default would ask sshd to accept environment variables, which it refuses with a warning each time.
        add_previous_output_in_env=False,
        opts=opts,
    )


def upload(
    name: str, host: RemoteHost, *, source: pulumi.FileAsset, remote_path: str, opts: pulumi.ResourceOptions
) -> remote.CopyToRemote:
    """Copy a file to the host when its content changes, and to every new machine."""
    return remote.CopyToRemote(
        name,
        connection=host.connection,
        source=source,
        remote_path=remote_path,
        # A changed connection alone does not copy again; another user has another home.
        triggers=[host.host_key, host.user],
        opts=opts,
    )
