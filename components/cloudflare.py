"""What this program needs of Cloudflare: the DnsRecord resource, the zone lookup, the zone's records.

Importing `pulumi_cloudflare` costs 1.5 s and 130 MB for its 661 modules, so these wrappers register the official type
tokens with the official plugin's version instead; a test holds their names and types against the official SDK's.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pulumi

from model import cloudflare, foreign
from model.domains import ServedDomain, SilentDomain
from model.frozen import frozen

if TYPE_CHECKING:
    # Half of the model, which need not be there yet when the zones are looked up.
    from model.records import Srv

PLUGIN_VERSION = version("pulumi-cloudflare")
"""The package pins the plugin: both carry the same version."""

RECORD: Final = "cloudflare:index/dnsRecord:DnsRecord"
_MOST_RECORDS: Final = 100_000
_PATIENCE_SECONDS: Final = 30


@frozen
class Caa:
    """Who may issue certificates for a name (RFC 8659 §4)."""

    tag: Literal["issue", "issuewild"]
    value: pulumi.Input[str]


class DnsRecord(pulumi.CustomResource):
    """A DNS record in a Cloudflare zone (`cloudflare:index/dnsRecord:DnsRecord`)."""

    def __init__(
        self,
        resource_name: str,
        *,
        zone_id: pulumi.Input[str],
        name: str,
        type_: str,
        content: pulumi.Input[str] = "",
        ttl: int,
        priority: int | None = None,
        data: "Srv | None" = None,
        tlsa: pulumi.Input[str] | None = None,
        caa: Caa | None = None,
        keep_name: bool = False,
        parent: pulumi.Resource,
        depends_on: Sequence[pulumi.Resource] = (),
        aliases: Sequence[pulumi.Alias] = (),
    ) -> None:
        """Register the record.

        `tlsa` is the digest of a key in upper case, as Cloudflare gives it back. With `keep_name`, a record that exists
        keeps its name, which the output `name` tells.
        """
        properties: dict[str, pulumi.Input[object]] = {
            "zoneId": zone_id,
            "name": name,
            "type": type_,
            "ttl": float(ttl),
            # Mail is not HTTP: a proxied address would point senders at Cloudflare.
            "proxied": False,
            "comment": foreign.comment(pulumi.get_stack(), resource_name),
        }
        # Cloudflare takes some in parts, and makes the content itself.
        if tlsa is not None:
            # DANE-EE, of the key alone, SHA-256 (RFC 7672 §3.1.1): what a certificate says else does not matter.
            properties["data"] = {"usage": 3.0, "selector": 1.0, "matchingType": 1.0, "certificate": tlsa}
        elif caa is not None:
            properties["data"] = {"flags": 0.0, "tag": caa.tag, "value": caa.value}
        elif data is None:
            properties["content"] = content
        else:
            properties["data"] = {
                "priority": float(data.priority),
                "weight": float(data.weight),
                "port": float(data.port),
                "target": data.target,
            }
        if priority is not None:
            properties["priority"] = float(priority)
        super().__init__(
            RECORD,
            resource_name,
            properties,
            pulumi.ResourceOptions(
                parent=parent,
                depends_on=list(depends_on),
                aliases=list(aliases),
                version=PLUGIN_VERSION,
                # The API refuses a second identical record, so the old one goes first where a change replaces it.
                delete_before_replace=True,
                ignore_changes=["name"] if keep_name else [],
            ),
        )

    # Of a property the SDK reads the type once, of an annotation for every record anew.
    @property
    @pulumi.getter
    def name(self) -> pulumi.Output[str]:
        """The record's name, absolute, without the last dot."""
        name: pulumi.Output[str] = pulumi.get(self, "name")
        return name

    @property
    @pulumi.getter
    def content(self) -> pulumi.Output[str]:
        """The record's data in presentation form; TXT in quoted strings of at most 255 octets."""
        content: pulumi.Output[str] = pulumi.get(self, "content")
        return content


def find_zones(domains: Iterable[ServedDomain | SilentDomain]) -> Mapping[str, pulumi.Input[str]]:
    """Return the zone id of each domain, as configured or as looked up."""
    return {domain.name: domain.zone_id or find_zone(domain.name) for domain in domains}


def find_zone(domain: str) -> pulumi.Output[str]:
    """Look the id of the zone `domain` up.

    Raises:
        pulumi.RunError: Cloudflare refused the token or has no such zone; its own message is kept.
    """
    return pulumi.Output.from_input(_find_zone(domain))


async def _find_zone(domain: str) -> str:
    arguments: Mapping[str, pulumi.Input[object]] = {"filter": {"name": domain, "match": "all"}}
    try:
        zone: Mapping[str, str] = await pulumi.runtime.invoke_async(
            "cloudflare:index/getZone:getZone", arguments, pulumi.InvokeOptions(version=PLUGIN_VERSION)
        )
    except Exception as error:
        raise pulumi.RunError(
            f"The zone {domain} cannot be found at Cloudflare: {error}\n"
            "Check that cloudflare:apiToken may read the zone and edit its records (Zone Read, DNS Write) and that the "
            "domain has been added to its account, or set its zone id: "
            f"pulumi config set --path 'mailhost:domains[\"{domain}\"].zoneId' ID"
        ) from error
    return zone["zoneId"] if "zoneId" in zone else zone["id"]


async def list_records(zone_id: str) -> list[foreign.Existing]:
    """Return every record of a zone.

    Raises:
        pulumi.RunError: Cloudflare does not tell; its own message is kept.
    """
    arguments: Mapping[str, pulumi.Input[object]] = {"zoneId": zone_id, "maxItems": _MOST_RECORDS}
    try:
        answer = await pulumi.runtime.invoke_async(
            "cloudflare:index/getDnsRecords:getDnsRecords", arguments, pulumi.InvokeOptions(version=PLUGIN_VERSION)
        )
    except Exception as error:
        raise pulumi.RunError(
            f"The records of the zone {zone_id} cannot be looked at: {error}\n"
            "Check that cloudflare:apiToken may edit the zone's records (DNS Write)."
        ) from error
    return [
        foreign.Existing(
            id=f"{zone_id}/{record['id']}",
            name=record["name"].lower(),
            type=record["type"],
            content=record.get("content") or "",
            data=record.get("data") or {},
            comment=record.get("comment") or "",
        )
        for record in answer["results"]
    ]


def delete_record(record_id: str) -> None:
    """Delete the record `<zone id>/<record id>`, or find it gone, with the provider's own settings.

    No resource can do it: only what a state knows is deleted by the engine.

    Raises:
        OSError: It cannot be deleted; the message is Cloudflare's, where it answers.
    """
    config = pulumi.Config("cloudflare")
    configured = {f"cloudflare:{key}": config.get(key) or "" for key in ("apiToken", "baseUrl")}
    api = cloudflare.access(configured, os.environ)
    if api.problem:
        raise OSError(api.problem)
    zone_id, _, record = record_id.partition("/")
    request = Request(  # noqa: S310 because the scheme was looked at
        api.at(f"zones/{zone_id}/dns_records/{record}"), method="DELETE", headers=api.headers
    )
    try:
        urlopen(request, timeout=_PATIENCE_SECONDS).close()  # noqa: S310 because of the same look
    except HTTPError as error:
        with error:
            said = error.read()
        if error.code != HTTPStatus.NOT_FOUND:
            raise OSError(cloudflare.refusal(said) or str(error)) from error
    except HTTPException as error:
        raise OSError(f"the API's answer is no HTTP: {type(error).__name__}") from error
