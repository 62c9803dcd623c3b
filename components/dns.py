"""DNS records at Cloudflare, and the wait until every authoritative server shows them."""

from collections.abc import Sequence

import pulumi

from components.cloudflare import DnsRecord
from components.remote import RemoteHost, command
from model.frozen import frozen
from model.records import Record


@frozen
class DnsRecordsArgs:
    """Inputs of `DnsRecords`."""

    zone_id: pulumi.Input[str]
    records: Sequence[Record]


def publish(
    name: str,
    record: Record,
    *,
    zone_id: pulumi.Input[str],
    parent: pulumi.Resource,
    after: Sequence[pulumi.Resource] = (),
    aliases: Sequence[pulumi.Alias] = (),
) -> DnsRecord:
    """Publish a record once `after` is done: no value flows from such conditions into it."""
    return DnsRecord(
        name,
        zone_id=zone_id,
        name=record.name,
        type_=record.type,
        content=record.content,
        ttl=record.ttl,
        priority=record.priority,
        data=record.data,
        parent=parent,
        depends_on=after,
        aliases=aliases,
    )


class DnsRecords(pulumi.ComponentResource):
    """Publishes a group of records. Owns nothing on the host."""

    records: dict[str, DnsRecord]
    """The published records by `Record.key`."""

    def __init__(self, name: str, args: DnsRecordsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:DnsRecords", name, {}, opts)
        self.records = {
            record.key: publish(f"{name}-{record.key}", record, zone_id=args.zone_id, parent=self)
            for record in args.records
        }
        self.register_outputs({"records": [record.name for record in args.records]})


@frozen
class Published:
    """A record that was published."""

    zone: str
    name: pulumi.Input[str]
    type: str
    content: pulumi.Input[str]
    """The record's own content output, which carries the dependency."""


@frozen
class DnsWaitArgs:
    """Inputs of `DnsWait`."""

    host: RemoteHost
    records: Sequence[Published]
    after: Sequence[pulumi.Resource]


class DnsWait(pulumi.ComponentResource):
    """Waits until every authoritative server of their zones answers with the records, asked from the host itself.

    One command, whatever their number.
    """

    visible: pulumi.Resource
    """Depend on it to run only once the records are visible."""

    def __init__(self, name: str, args: DnsWaitArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mailhost:index:DnsWait", name, {}, opts)
        lines = [
            pulumi.Output.concat(f"{record.zone} ", record.name, f" {record.type} ", record.content, "\n")
            for record in args.records
        ]
        self.visible = command(
            f"{name}-wait",
            args.host,
            ["mailhostctl", "wait-dns"],
            stdin=pulumi.Output.concat(*lines),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.after)),
        )
        self.register_outputs({})
