"""Settings: everything the operator decides, checked once and then frozen.

`load` is the only way in. Keys and units are documented here, below each field; docs/configuration.md is made
from them. Values of secrets are SecretStr and never appear in an error.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from model import constants, mailbox_file, mailboxes, options, policies, problems, rotation, routes, syntax
from model.domains import ServedDomain, SilentDomain
from model.options import Mailbox, MailDomain
from model.platforms import PLATFORMS, Os, Platform
from model.problems import SettingsError
from model.values import LETS_ENCRYPT_STAGING, Address, Domain, Hostname, PrivateKey, names_once, targets

__all__ = ["Settings", "SettingsError", "load"]


class Settings(options.Model):
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
    ssh: options.Ssh = options.Ssh.model_construct()
    """How the program reaches the host."""
    ssh_private_key: PrivateKey | None = None
    """Private SSH key (secret); default: the SSH agent."""
    domains: Annotated[Mapping[Domain, MailDomain], BeforeValidator(names_once)] = Field(default_factory=dict)
    """Further domains, by name, and what differs for one (the first domain may be named here too)."""
    mailboxes: Annotated[Mapping[str, Mailbox], BeforeValidator(mailboxes.read)]
    """The mailboxes by address: a password hash (secret), {ARGON2ID}… or {BLF-CRYPT}…, or an object with a password."""
    mailboxes_key: SecretStr | None = None
    """Key (secret) of the mailbox file mailboxes.<stack>.json, which `make mailbox` makes for a list."""
    aliases: Annotated[
        Mapping[Address, Annotated[tuple[Address, ...], BeforeValidator(targets)]], BeforeValidator(names_once)
    ] = Field(default_factory=dict)
    """Addresses without a mailbox, and where their mail goes: one address or a list, here or elsewhere."""
    postmaster: str = Field(default_factory=lambda data: _default_postmaster(data["domain"], data["mailboxes"]))
    """Mailbox that receives mail to postmaster@, abuse@ and root, and DMARC reports; default: postmaster@<domain> if
    that is a mailbox, else the only mailbox."""
    preflight: options.Preflight = options.Preflight()
    """The look before the first change."""
    dns: options.Dns = options.Dns()
    """What goes into the zone."""
    spf: options.Spf = options.Spf()
    """Who else may send."""
    dmarc: options.Dmarc = options.Dmarc()
    """The DMARC policy."""
    reports: options.Reports = options.Reports()
    """What others report."""
    acme: options.Acme = options.Acme()
    """The certificate's issuer."""
    caa: options.Caa = options.Caa()
    """Who may issue certificates for the host."""
    storage: options.Storage = options.Storage()
    """How mail is kept."""
    sieve: options.Sieve = options.Sieve()
    """Filters of users."""
    spam: options.Spam = options.Spam()
    """Spam filtering."""
    dkim: options.Dkim = options.Dkim()
    """The DKIM key."""
    smtp: options.Smtp = options.Smtp()
    """Port 25."""
    tlsa: options.Tlsa = options.Tlsa()
    """What senders can prove this host by."""
    outbound: options.Outbound = options.Outbound()
    """How mail travels to other servers."""
    limits: options.Limits = options.Limits()
    """How much one account may do."""
    ban: options.Ban = options.Ban()
    """Who is shut out."""
    metrics: options.Metrics = options.Metrics()
    """What monitoring reads."""
    services: options.Services = options.Services()
    """Which services are on."""
    client_setup: options.ClientSetup = options.ClientSetup()
    """How mail programs find their settings."""
    mta_sts: options.MtaSts = options.MtaSts()
    """What senders may rely on."""
    firewall: options.Firewall = options.Firewall()
    """Further open ports."""
    message_size_limit: Annotated[int, Field(ge=1_048_576, le=1_073_741_824)] = 52_428_800
    """Largest message accepted, in bytes, as sent on the wire (attachments grow by a third)."""

    @cached_property
    def served(self) -> tuple[ServedDomain, ...]:
        """Every domain this host serves: the first one first, the others by name."""
        others = sorted(name for name, own in self.domains.items() if name != self.domain and not own.silent)
        return tuple(self._served_domain(name) for name in (self.domain, *others))

    @cached_property
    def silent(self) -> tuple[SilentDomain, ...]:
        """Every domain without mail, by name."""
        return tuple(
            SilentDomain(name=name, zone_id=own.zone_id, reports=own.reports or self.reports.addresses)
            for name, own in sorted(self.domains.items())
            if own.silent
        )

    @property
    def zones(self) -> tuple[ServedDomain | SilentDomain, ...]:
        """Every domain in whose zone this stack has records."""
        return (*self.served, *self.silent)

    def _served_domain(self, name: str) -> ServedDomain:
        own = self.domains.get(name, MailDomain())
        base = own.selector or self.dkim.selector
        return ServedDomain(
            name=name,
            zone_id=own.zone_id or (self.dns.zone_id if name == self.domain else None),
            keys=rotation.keys(base, self.dkim.rotation),
            base=base,
            base_key=rotation.own_base_key(name) if own.selector else "dkim.selector",
            dmarc=own.dmarc or self.dmarc.policy,
            spf=own.spf.over(self.spf),
            reports=own.reports or self.reports.addresses or (f"postmaster@{name}",),
            bimi=own.bimi,
            catch_all=own.catch_all,
        )

    @property
    def dkim_grace(self) -> timedelta:
        """How long a key stays published after its last signature."""
        return self.dkim.rotation.grace or timedelta(days=self.outbound.queue_days + rotation.UNDER_WAY_DAYS)

    @property
    def platform(self) -> Platform:
        """The host's operating system in detail."""
        return PLATFORMS[self.os]

    @property
    def resolver(self) -> bool:
        """Whether anything asks a resolver of the host's own."""
        return self.spam.enabled or self.outbound.dane

    @property
    def web(self) -> bool:
        """Whether a web server of the host's own runs: for mail programs, for other mail servers, or for both."""
        return self.client_setup.enabled or self.mta_sts.enabled

    @property
    def quotas(self) -> bool:
        """Whether any mailbox has a limit."""
        return bool(self.storage.quota or any(mailbox.quota for mailbox in self.mailboxes.values()))

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
        given = ssh.model_dump() if isinstance(ssh, options.Ssh) else ssh
        if not isinstance(given, dict) or given.get("host"):
            return given
        return {**given, "host": info.data.get("ipv4", "192.0.2.1")}

    @field_validator("mailboxes")
    @classmethod
    def _served(cls, mailboxes: Mapping[str, Mailbox], info: ValidationInfo) -> Mapping[str, Mailbox]:
        domain = info.data.get("domain")
        domains = info.data.get("domains", {})
        served = {domain, *(name for name, own in domains.items() if not own.silent)}
        strangers = [address for address in mailboxes if address.rpartition("@")[2] not in served]
        if domain and strangers:
            raise ValueError("\n".join(_no_place(address, domain, domains) for address in strangers))
        return MappingProxyType(dict(sorted(mailboxes.items())))

    @field_validator("aliases")
    @classmethod
    def _arrives(cls, aliases: Mapping[str, tuple[str, ...]], info: ValidationInfo) -> Mapping[str, tuple[str, ...]]:
        """Check where all mail goes, once everything that decides it is known."""
        if {"domain", "domains", "mailboxes"} <= info.data.keys():
            served = {info.data["domain"]: MailDomain(), **info.data["domains"]}
            _refuse(routes.problems(served, info.data["mailboxes"], aliases))
        return aliases

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
            few = [*mailboxes][:10]
            raise ValueError(
                f"is not a mailbox; choose one of {', '.join(few)}{'…' if len(mailboxes) > len(few) else ''}"
            )
        if mailboxes is not None and not mailboxes[postmaster].enabled:
            raise ValueError(
                "is disabled, and postmaster's mail must arrive (RFC 5321 §4.5.1); enable it or name another"
            )
        return postmaster

    @field_validator("spf")
    @classmethod
    def _evaluated(cls, spf: options.Spf, info: ValidationInfo) -> options.Spf:
        if {"domain", "domains", "ipv4", "ipv6"} <= info.data.keys():
            hosts = [address for address in (info.data["ipv4"], info.data["ipv6"]) if address]
            _refuse(policies.spf_problems(info.data["domains"], info.data["domain"], spf, hosts))
        return spf

    @field_validator("dmarc")
    @classmethod
    def _strict_enough(cls, dmarc: options.Dmarc, info: ValidationInfo) -> options.Dmarc:
        _refuse(policies.bimi_problems(info.data.get("domains", {}), dmarc.policy))
        return dmarc

    @field_validator("reports")
    @classmethod
    def _received(cls, reports: options.Reports, info: ValidationInfo) -> options.Reports:
        if {"domain", "domains", "mailboxes", "aliases"} <= info.data.keys():
            served = {info.data["domain"]: MailDomain(), **info.data["domains"]}
            _refuse(routes.report_problems(reports.addresses, served, info.data["mailboxes"], info.data["aliases"]))
        return reports

    @field_validator("dkim")
    @classmethod
    def _served_domains(cls, dkim: options.Dkim, info: ValidationInfo) -> options.Dkim:
        if {"domain", "hostname", "domains"} <= info.data.keys():
            names = info.data["domain"], info.data["hostname"]
            _refuse(routes.domain_problems(info.data["domains"], *names, dkim))
        return dkim

    @field_validator("dkim")
    @classmethod
    def _signed(cls, dkim: options.Dkim, info: ValidationInfo) -> options.Dkim:
        spam = info.data.get("spam")
        if dkim.signer == "rspamd" and spam and not spam.enabled:
            raise ValueError("has signer rspamd, which needs spam.enabled; switch it on or let opendkim sign")
        return dkim

    @field_validator("outbound")
    @classmethod
    def _resolved(cls, outbound: options.Outbound, info: ValidationInfo) -> options.Outbound:
        tlsa, spam = info.data.get("tlsa"), info.data.get("spam")
        if tlsa and spam and tlsa.enabled and not outbound.dane and not spam.enabled:
            raise ValueError(
                "has dane off, and spam.enabled is off too, but tlsa.enabled needs the resolver that either brings; "
                "switch one of the three"
            )
        return outbound

    @field_validator("dkim")
    @classmethod
    def _in_order(cls, dkim: options.Dkim) -> options.Dkim:
        _refuse(rotation.problems(dkim.rotation))
        return dkim

    @field_validator("limits")
    @classmethod
    def _counted(cls, limits: options.Limits, info: ValidationInfo) -> options.Limits:
        spam = info.data.get("spam")
        if limits.enabled and spam and not spam.enabled:
            raise ValueError("needs spam.enabled, because rspamd counts; set limits.enabled to false too")
        return limits

    @field_validator("services")
    @classmethod
    def _filtered(cls, services: options.Services, info: ValidationInfo) -> options.Services:
        sieve = info.data.get("sieve")
        if not sieve or sieve.enabled or not services.managesieve:
            return services
        if "managesieve" in services.model_fields_set:
            raise ValueError("has managesieve on, which needs sieve.enabled; switch one of them")
        return services.model_copy(update={"managesieve": False})

    @field_validator("client_setup")
    @classmethod
    def _found(cls, client_setup: options.ClientSetup, info: ValidationInfo) -> options.ClientSetup:
        on = info.data.get("services")
        if not on or not client_setup.enabled:
            return client_setup
        useful = (on.imap or on.imaps or on.pop3 or on.pop3s) and (on.submission or on.submissions)
        if not useful and "enabled" in client_setup.model_fields_set:
            raise ValueError(
                "needs a service to read mail with and one to send it; switch some of services on, or set "
                "clientSetup.enabled to false"
            )
        taken = _taken(constants.CLIENT_LABELS, info.data)
        if useful and taken:
            raise ValueError(
                f"needs {taken} for mail programs, which is the host name or a domain already; "
                "choose another one, or set clientSetup.enabled to false"
            )
        return client_setup if useful else client_setup.model_copy(update={"enabled": False})

    @field_validator("caa")
    @classmethod
    def _below_the_domain(cls, caa: options.Caa, info: ValidationInfo) -> options.Caa:
        domain, hostname = info.data.get("domain"), info.data.get("hostname")
        if "enabled" in caa.model_fields_set or not domain or hostname != domain:
            return caa
        if caa.model_fields_set:
            raise ValueError(
                "is off because the host's name is the domain itself, and all names below it would be bound; "
                "set caa.enabled to true as well if they may be"
            )
        return caa.model_copy(update={"enabled": False})

    @field_validator("mta_sts")
    @classmethod
    def _kept(cls, mta_sts: options.MtaSts, info: ValidationInfo) -> options.MtaSts:
        client_setup, acme = info.data.get("client_setup"), info.data.get("acme")
        if "enabled" not in mta_sts.model_fields_set and client_setup and not client_setup.enabled:
            # Where clientSetup is off, another web server may have the ports.
            if mta_sts.model_fields_set:
                raise ValueError("is off because clientSetup is, unless mtaSts.enabled is set to true as well")
            return mta_sts.model_copy(update={"enabled": False})
        taken = _taken((constants.POLICY_LABEL,), info.data)
        if mta_sts.enabled and taken:
            raise ValueError(
                f"needs {taken} for the policy, which is the host name or a domain already; "
                "choose another one, or set mtaSts.enabled to false"
            )
        if mta_sts.enabled and mta_sts.mode == "enforce" and acme and acme.staging:
            raise ValueError(
                "has mode enforce, but nobody trusts the certificates of acme.staging, so mail would not come; "
                "set mtaSts.mode to testing"
            )
        return mta_sts

    @field_validator("acme")
    @classmethod
    def _acme_defaults(cls, acme: options.Acme, info: ValidationInfo) -> options.Acme:
        if acme.staging and "server" in acme.model_fields_set and acme.server != LETS_ENCRYPT_STAGING:
            raise ValueError("has both server and staging; staging means Let's Encrypt's own, so leave one out")
        server = LETS_ENCRYPT_STAGING if acme.staging else acme.server
        contact = acme.contact or f"postmaster@{info.data.get('domain', 'example.com')}"
        return acme.model_copy(update={"server": server, "contact": contact})


def _refuse(found: Iterable[tuple[str, str]]) -> None:
    """Raise what was found, if anything was; several domains may have the same problem."""
    once = dict.fromkeys(found)
    if once:
        raise problems.LocatedError(once)


def _taken(labels: tuple[str, ...], data: Mapping[str, Any]) -> str:
    """Return a name the web server needs below a domain that is the host name or a domain itself; empty without."""
    domains = data.get("domains", {})
    served = {data.get("domain"), *(name for name, own in domains.items() if not own.silent)}
    web = {f"{label}.{name}" for label in labels for name in served}
    return min(web & {data.get("hostname"), *served, *domains}, default="")


def _no_place(address: str, first: str, domains: Mapping[str, MailDomain]) -> str:
    name = address.rpartition("@")[2]
    if name in domains:
        return f"{address} is in {name}, which has mail none; leave that out, or use …@{first}"
    return f"{address} is in no domain this host serves; use …@{first}, or add its domain to domains"


def _default_postmaster(domain: str, mailboxes: Mapping[str, Mailbox]) -> str:
    usual = f"postmaster@{domain}"
    if usual in mailboxes:
        return usual
    return next(iter(mailboxes)) if len(mailboxes) == 1 else ""


def load(raw: Mapping[str, str], *, listed: str | None = None) -> Settings:
    """Check a stack's configuration and return it as Settings.

    Args:
        raw: values by key without the namespace; scalars as text, objects as JSON text (as Pulumi keeps them).
        listed: the stack's mailbox file (model/mailbox_file.py), if it has one.

    Raises:
        SettingsError: every problem found, one per line; values of secrets are not in it.
    """
    values, found = problems.parse_objects(raw, Settings)
    try:
        values |= _with_listed(values, listed)
    except SettingsError as error:
        found += error.problems
    skip = raw.keys() - values.keys() | ({"mailboxes"} if listed is not None else set())
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError([*found, *problems.describe(error, Settings, skip=skip)]) from None
    if found:
        raise SettingsError(found)
    return settings


def refuse_haste(settings: Settings, now: datetime) -> None:
    """Refuse to withdraw a DKIM key while mail with its signature may be under way.

    Raises:
        SettingsError: it is too early; one line.
    """
    problem = rotation.too_early(settings.dkim.rotation, settings.dkim_grace, now)
    if problem:
        raise SettingsError([f"dkim.rotation.stage: {problem}"])


def refuse_leap(settings: Settings, outputs: Mapping[str, Any], stack: str) -> None:
    """Refuse a stage of the DKIM keys' rotation that the last complete update's stage does not lead to.

    Raises:
        SettingsError: a key whose signatures are under way would be withdrawn or gone; several lines.
    """
    problem = rotation.leap(settings.dkim.rotation, outputs, stack)
    if problem:
        raise SettingsError([problem])


def _with_listed(values: Mapping[str, Any], listed: str | None) -> dict[str, Any]:
    """Return the mailboxes of the configuration together with those of the mailbox file; nothing without a file."""
    key = values.get("mailboxesKey")
    if listed is None and key:
        raise SettingsError(
            [
                "mailboxesKey: is set, but the mailbox file mailboxes.<stack>.json is missing; bring it back from the "
                "repository (to start anew without it: pulumi config rm mailboxesKey)"
            ]
        )
    if listed is None:
        return {}
    if not key:
        raise SettingsError(
            ["mailboxesKey: is missing, and the mailbox file cannot be read without; bring the stack's settings back"]
        )
    boxes = mailbox_file.opened(listed, key)
    own = values.get("mailboxes", {})
    twice = [address for address in own if address in boxes]
    if twice:
        raise SettingsError(
            [
                f"mailboxes: {address} stands in the configuration and in the mailbox file; "
                f"keep one: pulumi config rm --path 'mailboxes[\"{address}\"]'"
                for address in twice
            ]
        )
    return {"mailboxes": {**own, **boxes}}
