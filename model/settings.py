"""Settings: everything the operator decides, checked once and then frozen.

`load` is the only way in. Keys and units are documented here, below each field; docs/configuration.md is made
from them. Values of secrets are SecretStr and never appear in an error.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from model import problems, syntax
from model.platforms import PLATFORMS, Os, Platform
from model.problems import SettingsError

__all__ = ["Acme", "Dkim", "Dmarc", "Dns", "Firewall", "Services", "Settings", "SettingsError", "Ssh", "load"]

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

# Hashes as Dovecot stores them, whole: anything else in a mailbox's value is taken for a password in the clear.
_HASHES = (
    re.compile(
        r"\{ARGON2ID\}\$argon2id\$v=19\$m=(?P<memory>[0-9]{1,7}),t=[0-9]{1,3},p=[0-9]{1,3}\$[A-Za-z0-9+/]{8,88}\$[A-Za-z0-9+/]{16,88}"
    ),
    re.compile(r"\{BLF-CRYPT\}\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[A-Za-z0-9./]{53}"),
)
# KiB. Dovecot's auth process may use 256 MiB in all, and a hash that needs as much never matches (tried with 2.3, 2.4).
_MOST_MEMORY = 131_072
_HASH_FIX = "make one with: doveadm pw -s ARGON2ID  (or -s BLF-CRYPT), and store it with --secret"
_TTLS = range(60, 86_400 + 1)
_TTL_AUTOMATIC = 1
_PEM = re.compile(
    r"-----BEGIN ((?:OPENSSH|RSA|EC) )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END \1?PRIVATE KEY-----\n", re.A
)
_OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
_UNENCRYPTED = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"  # magic, NUL, cipher name "none" (OpenSSH's PROTOCOL.key)


def _private_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().replace("\r\n", "\n").strip() + "\n"
    if not _PEM.fullmatch(text):
        raise ValueError(
            "is not a private key file; store it with: pulumi config set --secret sshPrivateKey < ~/.ssh/deploy_key "
            "(without a passphrase), or leave it out to use the SSH agent"
        )
    if text.startswith(_OPENSSH) and not text.startswith(_OPENSSH + _UNENCRYPTED):
        raise ValueError("has a passphrase, and nobody is there to type it; give a key without, or use the SSH agent")
    return SecretStr(text)


def _https(value: str) -> str:
    # RFC 8555 §6.1: HTTPS always. The characters are those of RFC 3986 that need no quoting in a command line.
    if not re.fullmatch(r"https://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?", value):
        raise ValueError(f"is not an https:// directory URL, such as {LETS_ENCRYPT}")
    return value


def _mailboxes(value: object) -> dict[str, SecretStr]:
    """Read {address: hash}. Collects every problem; a value is never quoted, a key only if it looks like an address."""
    if not isinstance(value, Mapping):
        raise ValueError('must be an object {"address": "password hash"}')  # noqa: TRY004 - pydantic wants ValueError
    if not value:
        raise ValueError('is empty; give at least one {"address": "password hash"}')
    found: list[str] = []
    boxes: dict[str, SecretStr] = {}
    for number, (key, secret) in enumerate(value.items(), start=1):
        try:
            address = syntax.mail_address(str(key))
        except ValueError as error:
            label = problems.shown(key) if "@" in str(key) else f"entry {number}"
            found.append(f"{label} {error}")
            continue
        text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        hashed = _hash(text) if isinstance(text, str) else None
        if address in boxes:
            found.append(f"{address} is listed twice (case does not matter); keep one")
        elif not hashed:
            found.append(f"the value of {address} is not an ARGON2ID or BLF-CRYPT hash (not shown); {_HASH_FIX}")
        elif int(hashed.groupdict().get("memory", 0)) > _MOST_MEMORY:
            found.append(
                f"the hash of {address} needs more memory than Dovecot has; make it with m={_MOST_MEMORY} or less"
            )
        else:
            boxes[address] = SecretStr(hashed[0])
    if found:
        raise ValueError("\n".join(found))
    return boxes


def _hash(text: str) -> re.Match[str] | None:
    return next((match for pattern in _HASHES if (match := pattern.fullmatch(text))), None)


Domain = Annotated[str, AfterValidator(syntax.registrable_domain)]
Hostname = Annotated[str, AfterValidator(syntax.domain_name)]
Port = Annotated[int, Field(ge=1, le=65535)]


def _camel(name: str) -> str:
    # Pydantic's own to_camel makes pop3S of pop3s.
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_camel,
        hide_input_in_errors=True,
        validate_default=True,
    )


class Ssh(_Model):
    """How the program reaches the host."""

    host: Annotated[str, AfterValidator(syntax.host)] = ""
    """Address or name to connect to; default: ipv4."""
    port: Port = 22
    """TCP port of sshd. The firewall allows it before anything else."""
    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "root"
    """Account to log in as; any other than root needs sudo without a password."""


class Dns(_Model):
    """What goes into the zone."""

    ttl: int = 3600
    """Seconds a resolver may keep a record: 60 to 86400, or 1 for Cloudflare's automatic."""
    zone_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    """Cloudflare zone id; default: the zone is found by the domain's name."""
    apex: bool = True
    """Publish A and AAAA records for the domain itself too. Set it to false when a web site lives there."""

    @field_validator("ttl")
    @classmethod
    def _cloudflare_range(cls, ttl: int) -> int:
        if ttl != _TTL_AUTOMATIC and ttl not in _TTLS:
            raise ValueError("is no TTL Cloudflare accepts; write 60 to 86400 seconds, or 1 for automatic")
        return ttl


class Dkim(_Model):
    """The signature under every outgoing mail (RFC 6376)."""

    selector: Annotated[str, AfterValidator(syntax.selector)] = "mail"
    """Name of the key in the zone: <selector>._domainkey.<domain>."""
    bits: Literal[2048, 3072, 4096] = 2048
    """Size of the RSA key in bits; verifiers must support up to 4096 (RFC 8301 §3.2)."""


class Dmarc(_Model):
    """What others shall do with mail that claims the domain and fails SPF and DKIM (RFC 7489)."""

    policy: Literal["none", "quarantine", "reject"] = "quarantine"
    """The published p=."""


class Acme(_Model):
    """Who issues the certificate (RFC 8555)."""

    server: Annotated[str, AfterValidator(_https)] = LETS_ENCRYPT
    """Directory URL of the ACME server."""
    contact: Annotated[str, AfterValidator(lambda value: value and syntax.mail_address(value))] = ""
    """Mail address for the ACME account; default: postmaster@<domain>."""
    staging: bool = False
    """Use Let's Encrypt's staging server: its certificates are not trusted, its rate limits generous."""


class Services(_Model):
    """Which doors are open to mail clients. Port 25 always is."""

    imap: bool = True
    """IMAP with STARTTLS required, port 143."""
    imaps: bool = True
    """IMAP with TLS from the start, port 993."""
    pop3: bool = True
    """POP3 with STARTTLS required, port 110."""
    pop3s: bool = True
    """POP3 with TLS from the start, port 995."""
    submission: bool = True
    """Submission with STARTTLS required, port 587."""
    submissions: bool = True
    """Submission with TLS from the start, port 465."""


class Firewall(_Model):
    """Ports beside those of the services that are on."""

    https: bool = True
    """Open port 443, for a web server beside the mail host."""
    allow: tuple[Port, ...] = ()
    """Further TCP ports to open."""


class Settings(_Model):
    """One mail host."""

    domain: Domain
    """The domain that receives and sends mail: what stands after the @."""
    hostname: Hostname = Field(default_factory=lambda data: f"mail.{data['domain']}")
    """The host's name in DNS, in its certificate and in SMTP; default: mail.<domain>."""
    os: Os = "debian13"
    """Operating system of the host, checked there before anything changes."""
    ipv4: Annotated[str, AfterValidator(syntax.ipv4)]
    """Public IPv4 address of the host."""
    ipv6: Annotated[str, AfterValidator(syntax.ipv6)] | None = None
    """Public IPv6 address of the host. Set it only when its PTR record names the host; without it mail is IPv4 only."""
    host_key: Annotated[str, AfterValidator(syntax.host_key)]
    """The host's public ed25519 SSH key, one line. There is no trust on first use."""
    ssh: Ssh = Ssh.model_construct()
    """How the program reaches the host."""
    ssh_private_key: Annotated[SecretStr, AfterValidator(_private_key)] | None = None
    """Private SSH key (secret); default: the SSH agent."""
    mailboxes: Annotated[Mapping[str, SecretStr], BeforeValidator(_mailboxes)]
    """Password hash of each mailbox, by address (secret): {ARGON2ID}… or {BLF-CRYPT}…."""
    postmaster: str = Field(default_factory=lambda data: _default_postmaster(data["domain"], data["mailboxes"]))
    """Mailbox that receives mail to postmaster@, abuse@ and root, and DMARC reports; default: postmaster@<domain> if
    that is a mailbox, else the only mailbox."""
    dns: Dns = Dns()
    """What goes into the zone."""
    dkim: Dkim = Dkim()
    """The DKIM key."""
    dmarc: Dmarc = Dmarc()
    """The DMARC policy."""
    acme: Acme = Acme()
    """The certificate's issuer."""
    services: Services = Services()
    """Which services are on."""
    firewall: Firewall = Firewall()
    """Further open ports."""
    message_size_limit: Annotated[int, Field(ge=1_048_576, le=1_073_741_824)] = 52_428_800
    """Largest message accepted, in bytes, as sent on the wire (attachments grow by a third)."""

    @property
    def platform(self) -> Platform:
        """The host's operating system in detail."""
        return PLATFORMS[self.os]

    @field_validator("hostname")
    @classmethod
    def _inside_domain(cls, hostname: str, info: ValidationInfo) -> str:
        domain = info.data.get("domain")
        if domain and hostname != domain and not hostname.endswith(f".{domain}"):
            raise ValueError(
                f"lies outside {domain}, the zone its address is published in; write a name such as mail.{domain}"
            )
        return hostname

    @field_validator("ssh", mode="before")
    @classmethod
    def _ssh_host(cls, ssh: Any, info: ValidationInfo) -> Any:
        """The address the world uses is the address the operator uses, unless said otherwise."""
        given = ssh.model_dump() if isinstance(ssh, Ssh) else ssh
        if not isinstance(given, dict) or given.get("host"):
            return given
        return {**given, "host": info.data.get("ipv4", "192.0.2.1")}

    @field_validator("mailboxes")
    @classmethod
    def _served(cls, mailboxes: Mapping[str, SecretStr], info: ValidationInfo) -> Mapping[str, SecretStr]:
        domain = info.data.get("domain")
        strangers = [address for address in mailboxes if domain and address.rpartition("@")[2] != domain]
        if strangers:
            raise ValueError(
                "\n".join(
                    f"{address} is not in {domain}, the domain this host serves; use …@{domain}"
                    for address in strangers
                )
            )
        return MappingProxyType(dict(sorted(mailboxes.items())))

    @field_validator("postmaster")
    @classmethod
    def _exists(cls, postmaster: str, info: ValidationInfo) -> str:
        mailboxes = info.data.get("mailboxes")
        if not postmaster:
            raise ValueError(
                "is missing, and there are several mailboxes; name the one that shall get postmaster's mail"
            )
        postmaster = syntax.mail_address(postmaster)
        if mailboxes is not None and postmaster not in mailboxes:
            raise ValueError(f"is not a mailbox; choose one of {', '.join(mailboxes)}")
        return postmaster

    @field_validator("acme")
    @classmethod
    def _acme_defaults(cls, acme: Acme, info: ValidationInfo) -> Acme:
        if acme.staging and "server" in acme.model_fields_set and acme.server != LETS_ENCRYPT_STAGING:
            raise ValueError("has both server and staging; staging means Let's Encrypt's own, so leave one out")
        server = LETS_ENCRYPT_STAGING if acme.staging else acme.server
        contact = acme.contact or f"postmaster@{info.data.get('domain', 'example.com')}"
        return acme.model_copy(update={"server": server, "contact": contact})


def _default_postmaster(domain: str, mailboxes: Mapping[str, SecretStr]) -> str:
    usual = f"postmaster@{domain}"
    if usual in mailboxes:
        return usual
    return next(iter(mailboxes)) if len(mailboxes) == 1 else ""


def load(raw: Mapping[str, str]) -> Settings:
    """Check a stack's configuration and return it as Settings.

    Args:
        raw: values by key without the namespace; scalars as text, objects as JSON text (as Pulumi keeps them).

    Raises:
        SettingsError: every problem found, one per line; values of secrets are not in it.
    """
    values, found = problems.parse_objects(raw, Settings)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError([*found, *problems.describe(error, Settings, skip=raw.keys() - values.keys())]) from None
    if found:
        raise SettingsError(found)
    return settings
