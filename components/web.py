"""The web server: nginx with the names that mail programs and mail servers ask, and their certificates."""

from collections.abc import Sequence

import pulumi

from components.remote import command, serial_of, stage
from components.service import Service, ServiceArgs, ServiceHost
from model import web
from model.constants import ACME_CHALLENGES
from model.frozen import frozen


@frozen
class WebCertificatesArgs:
    """Inputs of `WebCertificates`."""

    host: ServiceHost
    after: Sequence[pulumi.Resource]
    """The names are visible everywhere, since an ACME server counts failed attempts; and mail works, which must not
    wait for a domain whose web names cannot have a certificate. Among it the host name's certificate: certbot runs once
    at a time."""


class WebCertificates(pulumi.ComponentResource):
    """Obtains the certificates of all domains' web names with one command, one certificate for each domain.

    Destroy leaves them, but they are not renewed any more.
    """

    staged: pulumi.Resource
    """The request is staged: the next service may use the connection."""
    issued: pulumi.Resource
    """Depend on it to read /etc/letsencrypt/live/autoconfig.DOMAIN (mta-sts.DOMAIN without the client setup)."""

    def __init__(self, name: str, args: WebCertificatesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:WebCertificates", name, {}, opts)
        settings = args.host.settings
        request = ["--webroot", ACME_CHALLENGES, "--server", settings.acme.server, "--contact", settings.acme.contact]
        lineages = web.lineages(settings)
        staged = self.staged = stage(
            f"{name}-request",
            args.host.remote,
            "nginx",
            "certificates",
            "".join(f"{word}\n" for word in request) + lineages,
            parent=self,
            depends_on=[args.host.helper],
            delete=["mailhostctl", "retire-certificates", "--webroot", ACME_CHALLENGES],
        )
        self.issued = command(
            f"{name}-issue",
            args.host.remote,
            ["mailhostctl", "certificates", *request],
            stdin=lineages,
            serial=serial_of(staged),
            # Conditions of the world, not values.
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.after)),
        )
        self.register_outputs({})


@frozen
class NginxArgs:
    """Inputs of `Nginx`."""

    host: ServiceHost
    certificates: pulumi.Resource


class Nginx(Service):
    """Owns /etc/nginx/nginx.conf, /etc/nginx/mailhost-*.conf and /var/www/mailhost. Listens on 80 and 443."""

    def __init__(self, name: str, args: NginxArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        settings = args.host.settings
        super().__init__(
            "mailhost:index:Nginx",
            name,
            ServiceArgs(
                host=args.host,
                service="nginx",
                files=web.files(settings),
                health=web.health(settings),
                requires=web.requires(settings),
                after=[args.certificates],
            ),
            opts,
        )
