"""The outside world: another domain with a real Postfix that verifies SPF, DKIM and DMARC, and answers.

Its software and configuration (`outside_files/`) are a second read-only layer over the Debian 13 base, so that it boots
ready. It signs what it sends: mail from outside passes the same checks. Mailbox carol@; echo@ answers every mail.
"""

import email
import email.policy
import hashlib
from email.message import EmailMessage
from email.utils import getaddresses, parseaddr
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lab import bases, keys, machines, paths
from lab.addresses import BLOCKLIST, MACHINES, OUTSIDE
from lab.errors import LabError
from lab.progress import step

CAROL: Final = f"carol@{OUTSIDE.domain}"
ECHO: Final = f"echo@{OUTSIDE.domain}"
AUTHSERV_ID: Final = OUTSIDE.hostname
"""Whose Authentication-Results headers (RFC 8601) are this server's own."""

_FILES: Final = Path(__file__).with_name("outside_files")
_SELECTOR: Final = "lab"
_INSTALL: Final = """set -eu
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
apt-get -q update
apt-get -q -y --no-install-recommends -o DPkg::Options::=--force-unsafe-io install postfix opendkim opendmarc
rm /usr/sbin/policy-rc.d
apt-get -q clean
rm -rf /var/lib/apt/lists/*
"""
_CONFIGURE: Final = f"""set -eu
useradd --create-home carol
newaliases
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN={OUTSIDE.hostname}' \
  -keyout /etc/postfix/tls.key -out /etc/postfix/tls.crt
(umask 077; cat /etc/postfix/tls.key /etc/postfix/tls.crt >/etc/postfix/tls.pem)
systemctl --quiet enable postfix opendkim opendmarc mta-sts
postfix check
"""
_BUILD: Final = """set -eu
folder=$1 lower=$2 files=$3
mkdir -p "$folder/tree" "$folder/work" "$folder/root"
mount -t overlay layer -o "lowerdir=$lower,upperdir=$folder/tree,workdir=$folder/work" "$folder/root"
mount -t proc proc "$folder/root/proc"
mount --rbind /dev "$folder/root/dev"
chroot "$folder/root" sh -c "$4"
cp -r "$files/." "$folder/root/"
chroot "$folder/root" sh -c "$5"
"""


def layer() -> Path:
    """Where the server's layer lies, built or not."""
    recipe = hashlib.sha256(f"{bases.path(OUTSIDE.release).name}\n{_BUILD}{_INSTALL}{_CONFIGURE}".encode())
    for file in sorted(path for path in _FILES.rglob("*") if path.is_file()):
        recipe.update(f"\n{file.relative_to(_FILES)}\n".encode() + file.read_bytes())
    return paths.bases() / f"outside-{recipe.hexdigest()[:12]}"


def ensure() -> None:
    """Build the layer unless it is there. Needs the base and the package cache."""
    target = layer()
    if target.is_dir():
        return
    partial = target.with_suffix(".partial")
    with step("building the outside mail server (once, about half a minute)"):
        bases.clear(partial)
        script = ["sh", "-c", _BUILD, "sh", str(partial), str(bases.ensure(OUTSIDE.release)), str(_FILES)]
        bases.build("base-outside", [*script, _INSTALL, _CONFIGURE])
        (partial / "tree").rename(target)
        bases.clear(partial)


def _key_file() -> Path:
    return paths.folder("keys") / "outside-dkim.pem"


def make_key() -> None:
    """Make the server's DKIM key unless there is one; records and machine need it."""
    if _key_file().exists():
        return
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    draft = _key_file().with_suffix(".new")
    draft.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    draft.rename(_key_file())


def files() -> dict[str, tuple[str, int]]:
    """Files to put on the machine's disk before it boots, with their mode."""
    certificate, key = keys.trusted_certificate(
        [
            f"*.trusted.{OUTSIDE.domain}",
            *(f"mta-sts.{domain}" for name in MACHINES for domain in strict_domains(name)),
        ]
    )
    return {
        "etc/dkimkeys/outside.private": (_key_file().read_text(), 0o600),
        "etc/postfix/trusted.pem": (key + certificate, 0o600),
    }


def strict_domains(machine: str) -> tuple[str, str]:
    """Two domains of this server whose MTA-STS policy tests on a machine may publish; see /usr/local/bin/mta-sts."""
    return f"sts-{machine}.{OUTSIDE.domain}", f"both-{machine}.{OUTSIDE.domain}"


def _dkim() -> str:
    key = serialization.load_pem_private_key(_key_file().read_bytes(), None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    value = "v=DKIM1; k=rsa; p=" + "".join(public.decode().splitlines()[1:-1])
    # A TXT string holds at most 255 bytes (RFC 1035 section 3.3).
    return " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))


def records() -> list[tuple[str, str, list[str]]]:
    """The domain's DNS records: name, type, values."""
    domain = OUTSIDE.domain
    return [
        (domain, "MX", [f"10 {OUTSIDE.hostname}."]),
        (domain, "TXT", ['"v=spf1 mx -all"']),
        (OUTSIDE.hostname, "A", [OUTSIDE.ipv4]),
        (OUTSIDE.hostname, "AAAA", [OUTSIDE.ipv6]),
        (f"{_SELECTOR}._domainkey.{domain}", "TXT", [_dkim()]),
        (f"_dmarc.{domain}", "TXT", [f'"v=DMARC1; p=reject; rua=mailto:postmaster@{domain}"']),
        # What every blocklist lists, so that it is seen to work (RFC 5782 section 5).
        (f"2.0.0.127.{BLOCKLIST}", "A", ["127.0.0.2"]),
    ]


def send(message: EmailMessage, *, envelope_from: str | None = None) -> None:
    """Send a message from the outside server to its To addresses, as a program on it would; it gets signed."""
    recipients = [address for _, address in getaddresses([str(value) for value in message.get_all("To", [])])]
    sender = envelope_from or parseaddr(str(message["From"]))[1]
    argv = ["/usr/sbin/sendmail", "-i", "-f", sender, "--", *recipients]
    machines.run(OUTSIDE.name, argv, content=message.as_bytes().decode())


def messages(mailbox: str = CAROL) -> list[EmailMessage]:
    """What lies in a mailbox of the outside server, oldest first."""
    return [_parse(path) for path in _files(mailbox)]


def message(subject: str, mailbox: str = CAROL) -> EmailMessage | None:
    """The newest mail with a subject, one that fits into a line of ASCII."""
    named = subject.encode()
    likely = (_parse(path) for path in reversed(_files(mailbox)) if named in path.read_bytes())
    return next((found for found in likely if found["Subject"] == subject), None)


def _files(mailbox: str) -> list[Path]:
    """The files of a mailbox, oldest first."""
    user, _, domain = mailbox.partition("@")
    if domain != OUTSIDE.domain:
        raise LabError(f"{mailbox} is not a mailbox of {OUTSIDE.domain}")
    maildir = machines.root(OUTSIDE.name) / "home" / user / "Maildir"
    found = [path for path in maildir.glob("[nc]*/*") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def _parse(path: Path) -> EmailMessage:
    with path.open("rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.default)
    if not isinstance(message, EmailMessage):
        raise LabError(f"{path} is not a mail")
    return message


def verdicts(message: EmailMessage) -> str:
    """This server's own Authentication-Results of a message, in one line."""
    headers = [" ".join(str(value).split()) for value in message.get_all("Authentication-Results", [])]
    return " ".join(header for header in headers if header.startswith(AUTHSERV_ID))
