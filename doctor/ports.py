"""The doors of the mail host: port, protocol, how TLS starts, and whether the settings have it open."""

from dataclasses import dataclass
from typing import Literal

from model import constants
from model.settings import Settings

Protocol = Literal["smtp", "submission", "imap", "pop3", "sieve"]


@dataclass(frozen=True, kw_only=True)
class Port:
    """One service for mail servers or mail clients."""

    number: int
    protocol: Protocol
    implicit: bool
    """TLS from the start (RFC 8314 §3); else by STARTTLS, STLS."""
    on: bool

    @property
    def label(self) -> str:
        """Number and protocol, for people."""
        return f"{self.number} {self.protocol}{'s' if self.implicit else ''}"


def ports(settings: Settings) -> tuple[Port, ...]:
    """Return every door, on or off."""
    on = settings.services
    return (
        Port(number=constants.SMTP, protocol="smtp", implicit=False, on=True),
        Port(number=constants.SUBMISSION, protocol="submission", implicit=False, on=on.submission),
        Port(number=constants.SUBMISSIONS, protocol="submission", implicit=True, on=on.submissions),
        Port(number=constants.IMAP, protocol="imap", implicit=False, on=on.imap),
        Port(number=constants.IMAPS, protocol="imap", implicit=True, on=on.imaps),
        Port(number=constants.POP3, protocol="pop3", implicit=False, on=on.pop3),
        Port(number=constants.POP3S, protocol="pop3", implicit=True, on=on.pop3s),
        Port(number=constants.MANAGESIEVE, protocol="sieve", implicit=False, on=on.managesieve),
    )
