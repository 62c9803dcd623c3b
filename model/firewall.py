"""ufw's files: TCP ports that are open, SSH first, the others because a service behind them is on."""

from typing import TypedDict

from model import constants
from model.files import ConfigFile, Nothing, render
from model.frozen import frozen
from model.settings import Settings


@frozen
class Port:
    """One open TCP port."""

    number: int
    purpose: str

    @property
    def comment(self) -> str:
        """The purpose as ufw keeps comments: hex of UTF-8."""
        return self.purpose.encode().hex()


class RulesContext(TypedDict):
    """What templates/ufw/user.rules.j2 needs."""

    prefix: str
    """Of the chains: `ufw` for IPv4, `ufw6` for IPv6."""
    anywhere: str
    ports: tuple[Port, ...]


def ports(settings: Settings) -> tuple[Port, ...]:
    """Return the open ports, each once, SSH first.

    SSH is allowed, not limited: ufw's `limit` drops the 6th connection within 30 seconds, and one `pulumi up` makes
    more. What keeps guessers out is that sshd takes keys.
    """
    on = settings.services
    wanted = (
        (True, settings.ssh.port, "SSH"),
        (True, constants.SMTP, "SMTP"),
        (on.submission, constants.SUBMISSION, "Submission, STARTTLS"),
        (on.submissions, constants.SUBMISSIONS, "Submission, TLS"),
        (on.imap, constants.IMAP, "IMAP, STARTTLS"),
        (on.imaps, constants.IMAPS, "IMAP, TLS"),
        (on.pop3, constants.POP3, "POP3, STARTTLS"),
        (on.pop3s, constants.POP3S, "POP3, TLS"),
        (on.managesieve, constants.MANAGESIEVE, "ManageSieve, STARTTLS"),
        (True, constants.HTTP, "HTTP, certificate renewal"),
        (settings.firewall.https or settings.web, constants.HTTPS, "HTTPS"),
        *((True, number, "firewall.allow") for number in sorted(settings.firewall.allow)),
    )
    found: dict[int, Port] = {}
    for want, number, purpose in wanted:
        if want:
            found.setdefault(number, Port(number=number, purpose=purpose))
    return tuple(found.values())


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return ufw's rules for both families and its switch. No secrets.

    Without a public IPv6 address the mail services do not listen there, and only what the operator may need stays open.
    """
    opened = ports(settings)
    own = {settings.ssh.port, *settings.firewall.allow}
    opened6 = opened if settings.ipv6 else tuple(port for port in opened if port.number in own)
    rules = RulesContext(prefix="ufw", anywhere="0.0.0.0/0", ports=opened)
    rules6 = RulesContext(prefix="ufw6", anywhere="::/0", ports=opened6)
    # Modes as the package has them.
    return (
        ConfigFile(path="/etc/ufw/user.rules", content=render("ufw/user.rules.j2", rules), mode="0640"),
        ConfigFile(path="/etc/ufw/user6.rules", content=render("ufw/user.rules.j2", rules6), mode="0640"),
        ConfigFile(path="/etc/ufw/ufw.conf", content=render("ufw/ufw.conf.j2", Nothing())),
    )
