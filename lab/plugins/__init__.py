"""Offline stand-ins for the official resource plugins, where those cannot be downloaded.

They do what the official ones do, but for these deliberate differences:

- an SSH host (or proxy) without a pinned `hostKey` is refused, and a wrong key is not dialled again;
- SSH connections are closed after each operation;
- dial retries are shown while they last and leave one message;
- the Cloudflare plugin speaks only to a configured `baseUrl`, and takes no misspelt input and no text for a number;
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


def version(name: str) -> str:
    """The plugin version that the installed Python package of this name asks for."""
    from lab.plugins import cache  # noqa: PLC0415

    return cache.version(name)
