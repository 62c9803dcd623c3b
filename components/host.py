"""The machine itself: what it is, and the helper that does everything else on it."""

import hashlib
from pathlib import Path

import pulumi

from components.remote import RemoteHost, command
from host.build import installer, zipapp
from model.frozen import frozen
from model.platforms import Platform

_FACTS = Path(__file__).parent.parent / "templates" / "host" / "facts.sh"
_PROGRAM = "/usr/local/sbin/mailhostctl"


@frozen
class HostArgs:
    """Inputs of `Host`."""

    remote: RemoteHost
    platform: Platform
    preflight: str | None
    """What the host shall look at before anything is changed (model/preflight.py)."""


class Host(pulumi.ComponentResource):
    """Checks that the machine is the configured one and installs /usr/local/sbin/mailhostctl on it.

    First of all on the host: nothing else runs before the operating system, Python and the clock are right, and the
    machine can become a mail host.
    """

    ready: pulumi.Resource
    """Depend on it to call mailhostctl."""

    def __init__(self, name: str, args: HostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:Host", name, {}, opts)
        platform, archive = args.platform, zipapp()
        digest = hashlib.sha256(archive).hexdigest()
        # Also the staging of the helper: its output ends in a new serial each time.
        facts = command(
            f"{name}-facts",
            args.remote,
            ["sh", "-s", platform.id, platform.version_id, digest],
            stdin=_FACTS.read_text(encoding="utf-8"),
            delete=["sh", "-c", f"test ! -x {_PROGRAM} || exec {_PROGRAM} uninstall"],
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        self.ready = command(
            f"{name}-install-helper",
            args.remote,
            ["python3", "-", "--sha256", digest],
            # Not confidential, but a preview would print all of it. The digest says whether it changes.
            stdin=pulumi.Output.secret(installer(archive)),
            serial=facts.stdout.apply(lambda text: text.split()[-1]),
            opts=pulumi.ResourceOptions(parent=self),
        )
        if args.preflight is not None:
            self.ready = command(
                f"{name}-preflight",
                args.remote,
                ["mailhostctl", "preflight"],
                stdin=args.preflight,
                # It is the helper that looks.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[self.ready]),
            )
        self.register_outputs({})
