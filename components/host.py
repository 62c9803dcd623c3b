"""The machine itself: what it is, and the helper that does everything else on it."""

import hashlib
import os
from pathlib import Path

import pulumi

from components.remote import RemoteHost, command, upload
from host.build import zipapp
from model.frozen import frozen
from model.platforms import Platform

_FACTS = Path(__file__).parent.parent / "templates" / "host" / "facts.sh"
_ARCHIVE = Path("build/mailhostctl.pyz")
"""Relative to the project, so that the state is the same whoever runs it."""
_UPLOAD = ".mailhostctl.upload"


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
        platform = args.platform
        facts = command(
            f"{name}-facts",
            args.remote,
            ["sh", "-s", platform.id, platform.version_id],
            stdin=_FACTS.read_text(encoding="utf-8"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        helper = zipapp()
        copy = upload(
            f"{name}-helper",
            args.remote,
            source=_asset(helper),
            remote_path=_UPLOAD,
            # A machine of the wrong kind gets no file of ours.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[facts]),
        )
        self.ready = command(
            f"{name}-install-helper",
            args.remote,
            ["python3", _UPLOAD, "install", "--sha256", hashlib.sha256(helper).hexdigest()],
            delete=["mailhostctl", "uninstall", "--upload", _UPLOAD],
            # The upload has no output that says what it copied.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[copy]),
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


def _asset(content: bytes) -> pulumi.FileAsset:
    """Write the archive where the plugin can read it; a file asset previews as a hash, not as text."""
    if not (_ARCHIVE.exists() and _ARCHIVE.read_bytes() == content):
        _ARCHIVE.parent.mkdir(exist_ok=True)
        partial = _ARCHIVE.with_suffix(f".{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(_ARCHIVE)
    return pulumi.FileAsset(str(_ARCHIVE))
