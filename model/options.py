"""Groups of settings: what one key of the configuration holds, with its defaults.

Keys and units are documented below each field; docs/configuration.md is made from them.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from model import syntax
from model.values import (
    LETS_ENCRYPT,
    Address,
    DirectoryUrl,
    DisplayName,
    Duration,
    Includes,
    Logo,
    LogoCertificate,
    Networks,
    Port,
    ReportAddresses,
    Size,
    SpfDefault,
)

_TTLS = range(60, 86_400 + 1)
_TTL_AUTOMATIC = 1


def _camel(name: str) -> str:
    # Pydantic's own to_camel makes pop3S of pop3s.
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Model(BaseModel):
    """What every group of settings has in common: frozen, camelCase keys, typos refused, values never quoted."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_camel,
        hide_input_in_errors=True,
        validate_default=True,
    )


class Ssh(Model):
    """How the program reaches the host."""

    host: Annotated[str, AfterValidator(syntax.host)] = ""
    """Address or name to connect to; default: ipv4."""
    port: Port = 22
    """TCP port of sshd. The firewall allows it before anything else."""
    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "root"
    """Account to log in as; any other than root needs sudo without a password."""


class Preflight(Model):
    """The host's look at itself before the first change; `make preflight` looks at more."""

    enabled: bool = True
    """Look at outgoing port 25, memory, disk, and who listens on the mail host's ports; stop where docs/doctor.md says
    so."""
    mail_servers: tuple[Annotated[str, AfterValidator(syntax.domain_name)], ...] = (
        "gmail-smtp-in.l.google.com",
        "mx-aol.mail.gm0.yahoodns.net",
        "mx01.mail.icloud.com",
    )
    """Mail servers of others; one of them must greet the host on port 25."""


class Dns(Model):
    """What goes into the zone."""

    ttl: int = 3600
    """Seconds a resolver may keep a record: 60 to 86400, or 1 for Cloudflare's automatic."""
    zone_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    """Cloudflare zone id; default: the zone is found by the domain's name."""
    apex: bool = True
    """Publish A and AAAA records for the domain itself too. Set it to false when a web site lives there."""
    adopt: Mapping[str, Annotated[str, Field(pattern=r"^[0-9a-f]{32}/[0-9a-f]{32}$")]] = {}
    """Records of the zone that this stack takes over, as they are: its own record's name, and <zone id>/<record id>. A
    preview names both. What leaves the list gets this stack's content at the next `up`."""

    @field_validator("ttl")
    @classmethod
    def _cloudflare_range(cls, ttl: int) -> int:
        if ttl != _TTL_AUTOMATIC and ttl not in _TTLS:
            raise ValueError("is no TTL Cloudflare accepts; write 60 to 86400 seconds, or 1 for automatic")
        return ttl


class Rotation(Model):
    """Where the succession of DKIM keys stands, for all domains at once; see model/rotation.py."""

    every: Duration | None = None
    """How long a key signs until the next one is due, such as 180d; default: whenever you say so."""
    grace: Duration | None = None
    """How long a key stays published after its last signature, such as 10d; default: outbound.queueDays and 2 days."""
    generation: Annotated[int, Field(ge=1, le=9999)] = 1
    """Number of the newest key; from the second on it ends the selector, such as mail-2. `make rotate` writes it."""
    stage: Literal["published", "signing", "settled"] = "settled"
    """Where the newest key stands; while it is published or signing, the one before is published too, and once it has
    settled, that one is withdrawn. `make rotate` writes it"""
    since: AwareDatetime | None = None
    """When the key that signs began to. `make rotate` writes it."""


class Dkim(Model):
    """The signature under every outgoing mail (RFC 6376)."""

    selector: Annotated[str, AfterValidator(syntax.selector)] = "mail"
    """Name of the key in the zone: <selector>._domainkey.<domain>. It can't change once the key is published; the next
    ones have a number behind it."""
    bits: Literal[2048, 3072, 4096] = 2048
    """Size of the RSA key in bits; verifiers must support up to 4096 (RFC 8301 §3.2). It counts when a key is made: for
    the next one of a rotation, and for new domains."""
    signer: Literal["opendkim", "rspamd"] = "opendkim"
    """Who signs. rspamd adds an Ed25519 signature (RFC 8463) beside the RSA one."""
    rotation: Rotation = Rotation()
    """The succession of keys."""


class Spf(Model):
    """Who may send for a domain beside this host (RFC 7208)."""

    include: Includes = ()
    """Names whose SPF records are other senders', such as _spf.newsletter.example; 10 at most, and what those look up
    in turn counts too (`make doctor` counts it)."""
    addresses: Networks = ()
    """IP addresses and networks of other senders; they cost receivers no look-up."""
    all: SpfDefault = "-all"
    """What holds for everybody else"""


class DomainSpf(Model):
    """What differs for one domain."""

    include: Includes | None = None
    """SPF records of the domain's other senders; default: spf.include."""
    addresses: Networks | None = None
    """Addresses of the domain's other senders; default: spf.addresses."""
    all: SpfDefault | None = None
    """What holds for everybody else; default: spf.all."""

    def over(self, usual: Spf) -> Spf:
        """Return what holds for the domain."""
        own = {name: getattr(self, name) for name in self.model_fields_set}
        return usual.model_copy(update={name: value for name, value in own.items() if value is not None})


class Dmarc(Model):
    """What others shall do with mail that claims the domain and fails SPF and DKIM (RFC 7489)."""

    policy: Literal["none", "quarantine", "reject"] = "quarantine"
    """The published p=."""


class Reports(Model):
    """What others report about mail of a domain and to it; `make reports` shows it."""

    addresses: ReportAddresses = ()
    """Who gets the DMARC and TLS reports, two addresses at most. One in a domain of others needs a record there: the
    preview says which; default: postmaster@ each domain."""
    tls: bool = True
    """Ask for reports about TLS that failed, or was not there, on the way to this host (RFC 8460)."""


class Acme(Model):
    """Who issues the certificate (RFC 8555)."""

    server: DirectoryUrl = LETS_ENCRYPT
    """Directory URL of the ACME server."""
    contact: Annotated[str, AfterValidator(lambda value: value and syntax.mail_address(value))] = ""
    """Mail address for the ACME account; default: postmaster@<domain>."""
    staging: bool = False
    """Use Let's Encrypt's staging server: its certificates are not trusted, its rate limits generous."""


class Caa(Model):
    """Who may issue certificates for the host (RFC 8659, RFC 8657)."""

    enabled: bool = True
    """Publish that only the host's own ACME account may have certificates of its name, only by HTTP-01, and none with a
    wildcard. Default: false where the host's name is the domain itself, as all names below would be bound too."""
    issuer: Annotated[str, AfterValidator(lambda value: value and syntax.domain_name(value))] = ""
    """The authority's name in CAA records, such as letsencrypt.org; default: as the ACME server says."""


class Services(Model):
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
    managesieve: bool = True
    """ManageSieve with STARTTLS required, port 4190: mail programs edit filters. Needs sieve."""


class Firewall(Model):
    """Ports beside those of the services that are on."""

    https: bool = False
    """Open port 443 for a web server of your own; for the mail host's it is open anyway."""
    allow: tuple[Port, ...] = ()
    """Further TCP ports to open."""


class Bimi(Model):
    """The logo mail programs may show beside a domain's mail (draft-brand-indicators-for-message-identification)."""

    logo: Logo = ""
    """https:// address of the logo, an SVG file of the profile Tiny PS. Without one there is no BIMI record; with one,
    the domain's DMARC policy must be quarantine or reject."""
    certificate: LogoCertificate = ""
    """https:// address of the logo's certificate (VMC or CMC), a PEM file; the large providers ask for one."""

    @field_validator("certificate")
    @classmethod
    def _of_a_logo(cls, certificate: str, info: ValidationInfo) -> str:
        if certificate and not info.data.get("logo", "unknown"):
            raise ValueError("is the certificate of no logo; set logo too, or leave it out")
        return certificate


class MailDomain(Model):
    """One of the domains of this stack. What is not said is as for the first domain."""

    mail: Literal["both", "none"] = "both"
    """Which way mail goes. With none the domain neither sends nor receives, its records say so, and nothing of it is on
    the host"""
    zone_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    """Cloudflare zone id; default: the zone is found by the domain's name."""
    selector: Annotated[str, AfterValidator(syntax.selector)] | None = None
    """DKIM selector, which can't change once the domain's key is published; default: dkim.selector."""
    dmarc: Literal["none", "quarantine", "reject"] | None = None
    """DMARC policy; default: dmarc.policy."""
    spf: DomainSpf = DomainSpf()
    """The domain's other senders."""
    reports: ReportAddresses | None = None
    """Who gets the DMARC and TLS reports; default: reports.addresses."""
    bimi: Bimi = Bimi()
    """The domain's logo."""
    catch_all: Address | None = None
    """Address that gets the domain's mail for which there is neither mailbox nor alias."""

    @property
    def silent(self) -> bool:
        """Whether the domain has no mail at all."""
        return self.mail == "none"

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        useless = self.model_fields_set - {"mail", "zone_id", "reports"} if self.silent else ()
        if useless:
            keys = ", ".join(sorted(map(_camel, useless)))
            raise ValueError(f"has mail none, which leaves nothing for {keys}; leave out the one or the other")
        return self


class Mailbox(Model):
    """One mailbox."""

    password: SecretStr
    """Password hash (secret): {ARGON2ID}… or {BLF-CRYPT}…."""
    name: DisplayName = ""
    """Display name, for the client setup."""
    quota: Size | None = None
    """Most the mailbox may hold: bytes, or such as 512M or 5G; 0 is no limit; default: storage.quota."""
    enabled: bool = True
    """False contains a stolen account: no login, sessions and queued mail are dropped, new mail waits outside."""
    forward: tuple[Address, ...] = ()
    """Addresses that get the mailbox's mail as well."""
    keep_copy: bool = True
    """Keep forwarded mail in the mailbox too."""


class Storage(Model):
    """How mail is kept."""

    quota: Size = 5 * 1024**3
    """Most one mailbox may hold, before compression: bytes, or such as 512M or 5G; 0 is no limit."""
    compression: bool = True
    """Compress new mail on disk (zstd); mail that is there already stays as it is."""
    search: bool = True
    """Index the text of mail for searching: Debian 13 with Flatcurve, Debian 12 with Xapian. On Ubuntu 24.04 a search
    reads the mail."""
    trash_days: Annotated[int, Field(ge=0, le=3650)] = 30
    """Days until mail in Trash is deleted; 0 keeps it."""
    junk_days: Annotated[int, Field(ge=0, le=3650)] = 30
    """Days until mail in Junk is deleted; 0 keeps it."""


class Sieve(Model):
    """Mail filters of users (RFC 5228)."""

    enabled: bool = True
    """Run users' filters; put spam into Junk and learn from what users move there or back (needs spam.enabled)."""


class Spam(Model):
    """Spam filtering by rspamd."""

    enabled: bool = True
    """Install rspamd, Redis and a local resolver, and let them judge incoming mail."""
    greylist: Annotated[float, Field(gt=0, le=100)] = 4
    """Score from which unknown senders are asked to come again in five minutes; as high as reject, nobody is."""
    junk: Annotated[float, Field(gt=0, le=100)] = 6
    """Score from which mail goes to Junk."""
    reject: Annotated[float, Field(gt=0, le=1000)] = 15
    """Score from which mail is refused."""
    blocklists: bool = True
    """Ask DNS blocklists, through the host's own resolver."""
    antivirus: bool = False
    """Scan mail with ClamAV, which needs another 1.2 GB of memory."""
    controller_password: SecretStr | None = None
    """Hash (secret; from: rspamadm pw) for rspamd's page on localhost:11334; default: the page is closed."""

    @field_validator("reject")
    @classmethod
    def _above_junk(cls, reject: float, info: ValidationInfo) -> float:
        if reject < info.data.get("junk", 0):
            raise ValueError("is lower than junk, so nothing would ever go to Junk; raise it, or lower spam.junk")
        return reject

    @field_validator("controller_password")
    @classmethod
    def _rspamd_hash(cls, password: SecretStr | None) -> SecretStr | None:
        if password and not re.fullmatch(r"\$[12](?:\$[a-z0-9]{16,128}){2}", password.get_secret_value()):
            raise ValueError("is not a hash as rspamd stores it (not shown); make one with: rspamadm pw")
        return password


class Smtp(Model):
    """Port 25."""

    postscreen: bool = True
    """Let postscreen(8) turn away clients that do not wait for the greeting."""


class TlsPolicy(Model):
    """What one destination must prove before it gets mail."""

    level: Literal["none", "may", "encrypt", "dane-only", "secure"]
    """The least that is accepted, as in smtp_tls_policy_maps of postconf(5)."""
    match: tuple[Annotated[str, AfterValidator(syntax.certificate_name)], ...] = ()
    """Names of which the certificate must have one, for level secure: a host, or .example.com for all below it;
    default: the destination itself and what is below it."""

    @field_validator("match")
    @classmethod
    def _for_secure(cls, match: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if match and info.data.get("level", "secure") != "secure":
            raise ValueError(f"is not looked at with level {info.data['level']}; leave it out, or write level secure")
        return match


def _tls_policy(value: object) -> object:
    """Read a bare level as a policy."""
    return {"level": value} if isinstance(value, str) else value


class Outbound(Model):
    """How mail travels to other servers."""

    dane: bool = True
    """Verify servers that publish TLSA records (RFC 7672), with a validating resolver on the host."""
    mta_sts: bool = True
    """Verify servers of domains that publish an MTA-STS policy (RFC 8461); where both are, DANE decides."""
    policies: Mapping[
        Annotated[str, AfterValidator(syntax.destination)], Annotated[TlsPolicy, BeforeValidator(_tls_policy)]
    ] = Field(default_factory=dict)
    """What a destination must prove, whatever it publishes: {"bank.example": "secure", ".old.example": "none"}; a level
    or an object with level and match. A leading dot means all names below."""
    queue_days: Annotated[int, Field(ge=1, le=30)] = 5
    """Days for which mail is tried before it goes back to its sender (RFC 5321 §4.5.4.1: four or five at least)."""
    bounce_days: Annotated[int, Field(ge=0, le=30)] = 1
    """Days for which a bounce is tried; 0 tries once."""
    ipv6: bool = True
    """Send over IPv6 too where the host has an address. False sends over IPv4 only, and still receives over both."""

    @field_validator("policies")
    @classmethod
    def _validated(cls, policies: Mapping[str, TlsPolicy], info: ValidationInfo) -> Mapping[str, TlsPolicy]:
        asked = [name for name, policy in policies.items() if policy.level == "dane-only"]
        if asked and not info.data.get("dane", True):
            raise ValueError(f"wants dane-only for {asked[0]}, which needs dane; switch it on, or write secure")
        return policies


class Tlsa(Model):
    """TLSA records for port 25 (RFC 6698, RFC 7672): senders with DANE deliver to this host alone."""

    enabled: bool = False
    """Publish records of the certificate's key and the next one, and keep the key at renewals. The zone must be signed
    with DNSSEC, or `up` stops; needs the host's own resolver (outbound.dane or spam.enabled)."""
    key: Annotated[int, Field(ge=1)] = 1
    """Number of the key in use. Raise it by one, and `up` changes to the next key, whose record is out already."""


class Limits(Model):
    """How much one account may do: a stolen password must not put the host on blocklists."""

    enabled: bool = True
    """Count messages and recipients. Needs spam.enabled: rspamd counts."""
    messages: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Messages one account may send an hour."""
    recipients: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """Recipients one account may write to an hour; a message with more is refused whole."""
    connections: Annotated[int, Field(ge=1, le=1000)] = 30
    """Connections one account may hold from one address, each for IMAP, POP3 and ManageSieve."""


class Ban(Model):
    """fail2ban: addresses that guess passwords are shut out."""

    enabled: bool = True
    """Install fail2ban, with jails for sshd, Postfix, Dovecot and repeated offenders."""
    attempts: Annotated[int, Field(ge=2, le=100)] = 5
    """Failures within the window after which an address is banned."""
    window: Annotated[int, Field(ge=60, le=604_800)] = 600
    """Seconds in which failures are counted."""
    duration: Annotated[int, Field(ge=60, le=31_536_000)] = 3600
    """Seconds a ban lasts; repeated offenders are banned for a week."""
    allow: tuple[Annotated[str, AfterValidator(syntax.network)], ...] = ()
    """Addresses or networks that are never banned; those the host is deployed from always are among them."""


class ClientSetup(Model):
    """How mail programs find their settings."""

    enabled: bool = True
    """Install nginx: autoconfig, autodiscover, .mobileconfig and a help page for users; publish SRV records. It takes
    ports 80 and 443; set it to false where another web server has them. Default: false where no service is on to read
    mail with, or none to send it."""


class MtaSts(Model):
    """What senders may rely on when they deliver to this host (RFC 8461)."""

    enabled: bool = True
    """Install nginx, which serves a policy at https://mta-sts.DOMAIN for every domain, and announce it. It takes ports
    80 and 443. Default: as clientSetup.enabled."""
    mode: Literal["testing", "enforce", "none"] = "testing"
    """Whether senders report it (testing) or keep mail back (enforce) when the host cannot prove itself; none releases
    them, before this is switched off (docs/operations.md)."""
    max_age_days: Annotated[int, Field(ge=1, le=365)] = 14
    """Days for which senders remember the policy; with mode none it is one day."""


class Metrics(Model):
    """What monitoring reads."""

    enabled: bool = True
    """Install a Postfix exporter and open the OpenMetrics pages of the daemons."""
    listen: Annotated[str, AfterValidator(syntax.ip_address)] = "127.0.0.1"
    """IP address the pages are on. On any other than localhost, firewall.allow must open their ports: 9154 (Postfix),
    9900 (Dovecot), 9910 (queue, certificates, services, disk, rspamd)."""
    digest: bool = False
    """Mail a daily summary to the postmaster."""

    @property
    def probed(self) -> bool:
        """Whether the host can ask its own pages: health probes only know localhost."""
        return self.listen == "127.0.0.1"
