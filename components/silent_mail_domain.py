"""One domain without mail at Cloudflare: the records that say so."""

import pulumi

from components.dns import publish
from model import records
from model.domains import SilentDomain
from model.frozen import frozen
from model.settings import Settings


@frozen
class SilentMailDomainArgs:
    """Inputs of `SilentMailDomain`."""

    settings: Settings
    domain: SilentDomain
    zone_id: pulumi.Input[str]


class SilentMailDomain(pulumi.ComponentResource):
    """Publishes that a domain neither sends nor receives mail. Owns nothing on the host.

    Its type is that of `MailDomain`, and so are the names of its records: they change in place when a domain gets mail
    or gives it up, and at no moment there are two SPF records.
    """

    def __init__(self, name: str, args: SilentMailDomainArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:MailDomain", name, {}, opts)
        for record in records.silent(args.settings, args.domain):
            publish(f"{name}-{record.key}", record, zone_id=args.zone_id, parent=self)
        self.register_outputs({})
