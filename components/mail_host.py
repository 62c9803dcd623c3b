"""The mail host as a whole: the table of contents of the system, and its order."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import pulumi

from components.accounts import Accounts
from components.certificate import Certificate, CertificateArgs
from components.dns import DnsRecords, DnsRecordsArgs, DnsWait, DnsWaitArgs, Published
from components.dovecot import Dovecot, DovecotArgs
from components.fail2ban import Fail2ban
from components.firewall import Firewall
from components.foreign import ForeignRecords
from components.host import Host, HostArgs
from components.mail_domain import MailDomain, MailDomainArgs, tell_of_sizes
from components.metrics import Digest, Metrics, MetricsArgs
from components.opendkim import OpenDkim, OpenDkimArgs, opendkim_keys
from components.packages import Packages, PackagesArgs
from components.postfix import Postfix, PostfixArgs
from components.remote import command, remote_host
from components.resolver import Resolver
from components.rspamd import rspamd_keys
from components.service import ServiceHost
from components.silent_mail_domain import SilentMailDomain, SilentMailDomainArgs
from components.spam_filter import SpamFilter, SpamFilterArgs
from components.tls_policy import TlsPolicy
from components.tlsa import Tlsa, TlsaArgs
from components.web import Nginx, NginxArgs, WebCertificates, WebCertificatesArgs
from model import dkim, packages, policies, preflight, records, rotation
from model.frozen import frozen
from model.settings import Settings

_MOMENT_SECONDS: Final = 0.005
"""Enough for what is declared to be sent; where it is not, a preview is slower, and the same."""


@frozen
class MailHostArgs:
    """Inputs of `MailHost`."""

    settings: Settings
    zones: Mapping[str, pulumi.Input[str]]
    """The ids of the domains' zones."""


class MailHost(pulumi.ComponentResource):
    """A complete mail host: a Debian machine that receives, stores, signs and sends mail, and its DNS records.

    The order is in the dependencies: certbot runs once the host name resolves, mail is signed once the keys' records
    are visible, Postfix starts once certificate, Dovecot and signer are there, and the MX records come last.

    `declare` must be awaited, once.
    """

    hostname: str
    """The host's name, as in its certificate and banner."""
    dkim: pulumi.Output[Mapping[str, object]]
    """Where the rotation of the DKIM keys stands, known once it stands there."""

    def __init__(self, name: str, args: MailHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        self._foreign = ForeignRecords(args.settings)
        super().__init__("mailhost:index:MailHost", name, {}, self._foreign.watching(opts))
        self._name, self._args = name, args

    async def declare(self) -> None:
        """Declare all that the mail host is made of.

        Raises:
            pulumi.RunError: dns.adopt names a record that this stack does not have.
        """
        name, settings, zones = self._name, self._args.settings, self._args.zones
        child = pulumi.ResourceOptions(parent=self)
        remote = remote_host(settings)
        host = Host(
            f"{name}-host",
            HostArgs(remote=remote, platform=settings.platform, preflight=preflight.asked(settings)),
            child,
        )
        domains = {
            domain.name: MailDomain(
                f"{name}-{domain.name}",
                MailDomainArgs(settings=settings, domain=domain, zone_id=zones[domain.name]),
                child,
            )
            for domain in settings.served
        }
        tell_of_sizes(settings, domains.values())
        await _underway([host, *domains.values()])
        _without_a_host(name, self._args, child)
        addresses = DnsRecords(
            f"{name}-address",
            DnsRecordsArgs(zone_id=zones[settings.domain], records=records.address(settings)),
            child,
        )

        installed = Packages(
            f"{name}-packages",
            PackagesArgs(host=remote, names=packages.packages(settings), after=[host.ready]),
            child,
        ).installed

        # One wait after another: each holds an SSH connection.
        resolves = DnsWait(
            f"{name}-host-visible",
            DnsWaitArgs(
                host=remote,
                records=[
                    Published(
                        zone=settings.domain,
                        name=record.name,
                        type=record.type,
                        content=addresses.records[record.key].content,
                    )
                    for record in records.address(settings)
                    if record.name == settings.hostname
                ],
                after=[host.ready],
            ),
            child,
        ).visible
        dkim_visible = DnsWait(
            f"{name}-dkim-visible",
            DnsWaitArgs(
                host=remote, records=[key for domain in domains.values() for key in domain.keys], after=[resolves]
            ),
            child,
        )

        services = ServiceHost(remote=remote, settings=settings, helper=host.ready, packages=installed)
        firewall = Firewall(f"{name}-firewall", services, child)
        certificate = Certificate(
            f"{name}-certificate",
            CertificateArgs(
                # It waits for the firewall anyway, so both share a connection.
                host=services.after(firewall.staged, firewall.applied),
                zone_id=zones[settings.domain],
                reachable=[resolves, firewall.applied],
            ),
            child,
        )
        accounts = Accounts(f"{name}-accounts", services, child)
        dovecot = Dovecot(
            f"{name}-dovecot",
            DovecotArgs(host=services, certificate=certificate.issued, accounts=accounts.applied),
            child,
        )
        asked = _asked_by_postfix(name, services, domains, dkim_visible.visible, child)
        postfix = Postfix(
            f"{name}-postfix",
            PostfixArgs(
                host=services,
                certificate=certificate.issued,
                dovecot=dovecot.applied,
                asked=asked,
            ),
            child,
        )
        withdrawn = [record for domain in domains.values() for record in domain.withdraw(asked)]
        self.dkim = _rotation(name, services, [*asked, dkim_visible.visible], withdrawn, child)
        finished: list[pulumi.Resource] = []
        if settings.tlsa.enabled:
            zone_id = zones[settings.domain]
            tlsa = Tlsa(f"{name}-tlsa", TlsaArgs(host=services, zone_id=zone_id, after=[postfix.applied]), child)
            finished.append(tlsa.published)
        last = postfix.staged
        if settings.ban.enabled:
            # A jail that does not start stops no mail.
            ban = Fail2ban(f"{name}-fail2ban", services.after(last, postfix.applied), child)
            finished.append(ban.applied)
            last = ban.staged
        served: list[pulumi.Resource] = []
        if settings.web:
            nginx = _web(
                name,
                services.after(last),
                child,
                names=[record for domain in domains.values() for record in domain.names],
                turn=dkim_visible.visible,
                works=[certificate.issued, postfix.applied],
            )
            served = [nginx.applied]
            finished += served
            last = nginx.staged
        finished += [record for domain in domains.values() for record in domain.invite([postfix.applied], served)]
        finished += _watched(name, services.after(last), [postfix.applied], child)
        command(
            f"{name}-check",
            remote,
            ["mailhostctl", "check", "--hostname", settings.hostname],
            stdin="".join(
                f"{domain.name} {selector}\n"
                for domain in settings.served
                for selector in dkim.selectors(domain.selector, settings.dkim.signer)
            ),
            # The last word: everything is in place.
            opts=pulumi.ResourceOptions(parent=self, depends_on=finished),
        )

        self._foreign.judged()
        self.hostname = settings.hostname
        self.register_outputs({"hostname": self.hostname, "dkim": self.dkim})


async def _underway(first: Iterable[pulumi.Resource]) -> None:
    """In a preview, send what is declared below these, which needs each of the three plugins, before all the rest.

    The engine starts one plugin after another and does nothing else meanwhile, so the program had better use the time.
    An update begins with nothing before all is declared without an error.
    """
    if pulumi.runtime.is_dry_run():
        await asyncio.gather(*(resource.urn.future() for resource in first))
        await asyncio.sleep(_MOMENT_SECONDS)


def _without_a_host(name: str, args: MailHostArgs, opts: pulumi.ResourceOptions) -> None:
    """Create the domains without mail, and say in a preview what only others can publish."""
    settings = args.settings
    for domain in settings.silent:
        silent = SilentMailDomainArgs(settings=settings, domain=domain, zone_id=args.zones[domain.name])
        SilentMailDomain(f"{name}-{domain.name}", silent, opts)
    unasked = records.permissions_to_ask_for(settings)
    if unasked and pulumi.runtime.is_dry_run():
        pulumi.log.warn(policies.permission_advice(unasked), opts.parent)


def _asked_by_postfix(
    name: str,
    services: ServiceHost,
    domains: Mapping[str, MailDomain],
    published: pulumi.Resource,
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """Create what Postfix asks before a mail may pass, one after another; `published`: the DKIM keys are visible."""
    settings = services.settings
    asked: list[pulumi.Resource] = []
    turn = services
    if settings.resolver:
        resolver = Resolver(f"{name}-resolver", turn, opts)
        asked.append(resolver.applied)
        turn = services.after(resolver.staged, resolver.applied)
    if settings.outbound.mta_sts:
        policies = TlsPolicy(f"{name}-tls-policy", turn, opts)
        asked.append(policies.applied)
        turn = services.after(policies.staged, policies.applied)
    if settings.spam.enabled:
        keys = [key for domain in settings.served for key in rspamd_keys(domain, domains[domain.name].pairs)]
        spam = SpamFilter(f"{name}-spam", SpamFilterArgs(host=turn, keys=keys, published=[published]), opts)
        asked.append(spam.applied)
        turn = services.after(spam.staged, spam.applied)
    if settings.dkim.signer == "opendkim":
        opendkim = OpenDkim(
            f"{name}-opendkim",
            OpenDkimArgs(
                host=turn,
                keys=[key for domain in settings.served for key in opendkim_keys(domain, domains[domain.name].pairs)],
                published=[published],
            ),
            opts,
        )
        asked.append(opendkim.applied)
    return asked


def _web(
    name: str,
    services: ServiceHost,
    opts: pulumi.ResourceOptions,
    *,
    names: Sequence[Published],
    turn: pulumi.Resource,
    works: Sequence[pulumi.Resource],
) -> Nginx:
    """Create the web server: `names` are waited for once `turn` is done, and certified once mail `works`."""
    visible = DnsWait(
        f"{name}-web-visible", DnsWaitArgs(host=services.remote, records=names, after=[turn]), opts
    ).visible
    certificates = WebCertificates(
        f"{name}-web-certificates", WebCertificatesArgs(host=services, after=[visible, *works]), opts
    )
    return Nginx(
        f"{name}-nginx",
        NginxArgs(host=services.after(certificates.staged), certificates=certificates.issued),
        opts,
    )


def _watched(
    name: str, services: ServiceHost, after: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Create what tells how the host is, once `after` is done."""
    done: list[pulumi.Resource] = []
    if services.settings.metrics.enabled:
        metrics = Metrics(f"{name}-metrics", MetricsArgs(host=services, after=after), opts)
        done.append(metrics.applied)
        services = services.after(metrics.staged)
    if services.settings.metrics.digest:
        digest = Digest(f"{name}-digest", MetricsArgs(host=services, after=after), opts)
        done.append(digest.applied)
    return done


def _rotation(
    name: str,
    services: ServiceHost,
    signing: Sequence[pulumi.Resource],
    withdrawn: Sequence[pulumi.Resource],
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[Mapping[str, object]]:
    """Return what the outputs say of the DKIM keys, once `signing` and `withdrawn` are as they say."""
    stage = services.settings.dkim.rotation
    since: pulumi.Input[str] = rotation.when(stage.since) if stage.since else ""
    done = [*signing, *withdrawn]
    if rotation.dated(stage):
        noted = command(
            f"{name}-dkim-since",
            services.remote,
            # In the state from then on: it runs once for each key that begins to sign.
            ["date", "--utc", "+%Y-%m-%dT%H:%M:%SZ"],
            stdin=f"{rotation.signing(stage)}\n",
            # From now on no mail gets the former signature.
            opts=pulumi.ResourceOptions(parent=opts.parent, depends_on=list(signing)),
        )
        done.append(noted)
        since = since or noted.stdout.apply(str.strip)
    stated = rotation.stated(stage, services.settings.served)
    # A resource's name is known when it is as it shall be: an update that fails leaves the former output.
    return pulumi.Output.all(since, *(resource.urn for resource in done)).apply(
        lambda known: _said(
            {**stated, "since": known[0], **rotation.ahead(stage, services.settings.dkim_grace, known[0])}
        )
    )


def _said(dkim: Mapping[str, object]) -> Mapping[str, object]:
    # Today's date decides on a word to the operator only: the plan is the same on every day.
    late = rotation.overdue(dkim, datetime.now(UTC))
    if late:
        pulumi.log.warn(f"dkim.rotation: {late}; `make rotate`, then `pulumi up`")
    return dkim
