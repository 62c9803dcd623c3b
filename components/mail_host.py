"""The mail host as a whole: the table of contents of the system, and its order."""

from dataclasses import dataclass

import pulumi

from components.accounts import Accounts
from components.certificate import Certificate, CertificateArgs
from components.cloudflare import find_zone
from components.dkim_key import DkimKey, DkimKeyArgs
from components.dns import DnsRecords, DnsRecordsArgs, DnsWait, DnsWaitArgs
from components.dovecot import Dovecot, DovecotArgs
from components.firewall import Firewall
from components.host import Host, HostArgs
from components.opendkim import OpenDkim, OpenDkimArgs
from components.packages import Packages, PackagesArgs
from components.postfix import Postfix, PostfixArgs
from components.remote import command, remote_host
from components.service import ServiceHost
from model import packages, records
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class MailHostArgs:
    """Inputs of `MailHost`."""

    settings: Settings


class MailHost(pulumi.ComponentResource):
    """A complete mail host: a Debian machine that receives, stores, signs and sends mail, and its DNS records.

    The order is in the dependencies: certbot runs once the host name resolves, mail is signed once the key's record is
    visible, Postfix starts once certificate, Dovecot and signer are there, and the MX record comes last.
    """

    hostname: str
    """The host's name, as in its certificate and banner."""

    def __init__(self, name: str, args: MailHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:MailHost", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings = args.settings
        remote = remote_host(settings)
        zone_id = settings.dns.zone_id or find_zone(settings.domain)

        addresses = DnsRecords(
            f"{name}-address", DnsRecordsArgs(zone_id=zone_id, records=records.address(settings)), child
        )
        DnsRecords(
            f"{name}-policy",
            DnsRecordsArgs(zone_id=zone_id, records=[records.spf(settings), records.dmarc(settings)]),
            child,
        )
        dkim_key = DkimKey(f"{name}-dkim", DkimKeyArgs(settings=settings, zone_id=zone_id), child)

        host = Host(f"{name}-host", HostArgs(remote=remote, platform=settings.platform), child)
        installed = Packages(
            f"{name}-packages",
            PackagesArgs(host=remote, names=packages.packages(settings), after=[host.ready]),
            child,
        ).installed

        # One wait after another: each holds an SSH connection.
        resolves: list[pulumi.Resource] = []
        for record in (record for record in records.address(settings) if record.name == settings.hostname):
            wait = DnsWait(
                f"{name}-{record.key}-visible",
                DnsWaitArgs(
                    host=remote,
                    zone=settings.domain,
                    name=record.name,
                    type=record.type,
                    content=addresses.records[record.key].content,
                    after=[host.ready, *resolves],
                ),
                child,
            )
            resolves.append(wait.visible)
        dkim_visible = DnsWait(
            f"{name}-dkim-visible",
            DnsWaitArgs(
                host=remote,
                zone=settings.domain,
                name=dkim_key.record_name,
                type="TXT",
                content=dkim_key.record.content,
                after=[host.ready, *resolves],
            ),
            child,
        )

        services = ServiceHost(remote=remote, settings=settings, helper=host.ready, packages=installed)
        firewall = Firewall(f"{name}-firewall", services, child)
        certificate = Certificate(
            f"{name}-certificate", CertificateArgs(host=services, reachable=[*resolves, firewall.applied]), child
        )
        opendkim = OpenDkim(
            f"{name}-opendkim",
            OpenDkimArgs(host=services, private_key=dkim_key.private_key_pem, published=[dkim_visible.visible]),
            child,
        )
        accounts = Accounts(f"{name}-accounts", services, child)
        dovecot = Dovecot(
            f"{name}-dovecot",
            DovecotArgs(host=services, certificate=certificate.issued, accounts=accounts.applied),
            child,
        )
        postfix = Postfix(
            f"{name}-postfix",
            PostfixArgs(
                host=services, certificate=certificate.issued, dovecot=dovecot.applied, signer=opendkim.applied
            ),
            child,
        )
        invitation = DnsRecords(
            f"{name}-invitation",
            DnsRecordsArgs(zone_id=zone_id, records=[records.mx(settings)], after=[postfix.applied]),
            child,
        )
        command(
            f"{name}-check",
            remote,
            [
                *("mailhostctl", "check", "--hostname", settings.hostname),
                *("--domain", settings.domain, "--selector", settings.dkim.selector),
            ],
            # The last word: everything is in place.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*invitation.records.values()]),
        )

        self.hostname = settings.hostname
        self.register_outputs({"hostname": self.hostname})
