"""Client setup: how mail programs find this host, as documents that the web server serves (model/web.py).

The documents hold no mailbox and no secret: everybody gets the same, filled by nginx with what the request itself says,
so their number does not grow with the domains.
"""

import base64
import hashlib
from typing import Literal, TypedDict

from model import constants
from model.files import TEMPLATES, ConfigFile, render
from model.frozen import frozen
from model.settings import Settings

Protocol = Literal["imap", "pop3", "smtp"]


@frozen
class Door:
    """One port at which a mail program may knock."""

    protocol: Protocol
    port: int
    tls: bool
    """TLS from the first octet (RFC 8314 §3); otherwise STARTTLS, which the host requires."""
    service: str
    """Name in SRV records (RFC 6186 §3, RFC 8314 §5.1)."""


class ProgramContext(TypedDict):
    """What the documents for mail programs need: templates/client_setup/*.xml.j2 and profile.mobileconfig.j2."""

    hostname: str
    reading: tuple[Door, ...]
    """Never empty, the preferred one first; likewise below."""
    sending: tuple[Door, ...]


class PageContext(TypedDict):
    """What templates/client_setup/index.html.j2 needs."""

    hostname: str
    doors: tuple[Door, ...]
    sieve_port: int
    """0 where filters cannot be edited by a program."""
    style: str
    code: str
    """QR code of the page's own address, as SVG."""


def doors(settings: Settings) -> tuple[Door, ...]:
    """Return the ports for mail programs that are open, in the order in which a program should try them.

    IMAP before POP3, and TLS from the start before STARTTLS (RFC 8314 §3).
    """
    on = settings.services
    every = (
        (on.imaps, Door(protocol="imap", port=constants.IMAPS, tls=True, service="imaps")),
        (on.imap, Door(protocol="imap", port=constants.IMAP, tls=False, service="imap")),
        (on.pop3s, Door(protocol="pop3", port=constants.POP3S, tls=True, service="pop3s")),
        (on.pop3, Door(protocol="pop3", port=constants.POP3, tls=False, service="pop3")),
        (on.submissions, Door(protocol="smtp", port=constants.SUBMISSIONS, tls=True, service="submissions")),
        (on.submission, Door(protocol="smtp", port=constants.SUBMISSION, tls=False, service="submission")),
    )
    return tuple(door for wanted, door in every if wanted)


def preferred(settings: Settings) -> tuple[Door, ...]:
    """Return the best door of each protocol: what SRV records name, and what Outlook and Apple's mail get."""
    first: dict[Protocol, Door] = {}
    for door in doors(settings):
        first.setdefault(door.protocol, door)
    return tuple(first.values())


def documents(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return the documents that nginx serves. No secrets."""
    every = _program(settings, doors(settings))
    # Outlook and Apple's mail take one server of a kind.
    best = _program(settings, preferred(settings))
    page = PageContext(
        hostname=settings.hostname,
        doors=doors(settings),
        sieve_port=constants.MANAGESIEVE if settings.services.managesieve else 0,
        style=_style(),
        code=_qr_code(f"https://{settings.hostname}/"),
    )
    contents = {
        "autoconfig.xml": render("client_setup/autoconfig.xml.j2", every),
        "autodiscover.xml": render("client_setup/autodiscover.xml.j2", best),
        "mail.mobileconfig": render("client_setup/profile.mobileconfig.j2", best),
        "index.html": render("client_setup/index.html.j2", page),
    }
    return tuple(ConfigFile(path=f"{constants.WEB_DOCUMENTS}/{name}", content=text) for name, text in contents.items())


def _program(settings: Settings, found: tuple[Door, ...]) -> ProgramContext:
    return ProgramContext(
        hostname=settings.hostname,
        reading=tuple(door for door in found if door.protocol != "smtp"),
        sending=tuple(door for door in found if door.protocol == "smtp"),
    )


def style_hash() -> str:
    """Return the CSP source of the help page's style sheet (CSP3 §2.3.1)."""
    return base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()


def _style() -> str:
    return (TEMPLATES / "client_setup" / "style.css").read_text(encoding="utf-8")


def _qr_code(text: str) -> str:
    """Return a QR code as SVG: dark on light also in a dark page, since some readers see no other."""
    import segno  # noqa: PLC0415 - 70 ms, which a host without client setup need not pay

    code = segno.make(text, error="m", micro=False)
    return str(code.svg_inline(border=4, light="#fff", omitsize=True, svgclass=None, lineclass=None))
