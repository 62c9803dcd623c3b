"""Offline stand-ins for the official resource plugins, where those cannot be downloaded.

They do what the official ones do, in the same words; their tests also run against those (CONTRIBUTING.md).
The deliberate differences, all of them stricter or sooner over:

- an input that the schema does not have, or of another type, is refused, by its name and never with its value;
- an SSH host (or proxy) without a pinned `hostKey` is refused;
- a host that accepts a connection and says nothing, and an operation without its engine, end after some minutes;
- a logged line of 64 KiB is a failure, not a plugin that hangs;
- the Cloudflare plugin speaks only to a configured `baseUrl`, and takes no text for a number;
- an encrypted private key in OpenSSH's own format needs the package `bcrypt`.

Every plugin process imports this package, and every preview pays for it: what only `install` needs is imported there.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

NAMES: Final = ("command", "tls", "cloudflare")


def install(pulumi: "Path", home: "Path", python: "Path", *, nursery: "Path") -> None:
    """Fill the plugin cache of a PULUMI_HOME with launchers of the offline plugins; an official plugin there stays.

    The layout is the one `pulumi plugin install resource NAME VERSION --exact --file` makes; written directly, it costs
    no process.

    Args:
        pulumi: the pulumi command (not needed so far: the layout is written directly).
        home: an own PULUMI_HOME, never the user's.
        python: interpreter of the environment that holds pulumi, asyncssh and cryptography.
        nursery: socket where a nursery may listen; the plugins also start without one.
    """
    from lab.plugins import cache  # noqa: PLC0415

    del pulumi
    cache.install(home, python, nursery)


def is_stand_in(binary: "Path") -> bool:
    """Whether a plugin's executable is a launcher that `install` wrote."""
    from lab.plugins import cache  # noqa: PLC0415

    return cache.is_stand_in(binary)


def version(name: str) -> str:
    """The plugin version that the installed Python package of this name asks for."""
    from lab.plugins import cache  # noqa: PLC0415

    return cache.version(name)
