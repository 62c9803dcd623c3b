"""Offline stand-in for the resource plugin `cloudflare` 6.17.0: DnsRecord, getZone, getZones and getDnsRecords.

Semantics: terraform-provider-cloudflare v5.19.1, internal/services/{dns_record,zone}. It speaks to the lab's API only.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from lab.plugins.cloudflare_http import Api, NotFound
from lab.plugins.schema import Change, Field, Problem, changes
from lab.plugins.serve import Call, Failure, Provider, Resource

_TOKEN: Final = re.compile(r"[0-9A-Za-z\-_]{40,80}")
_NUMBER: Final = Field(type="number")
_FLAG: Final = Field(type="boolean")
_MOST_ITEMS: Final = 1000
_TEXT_DATA: Final = (
    "certificate digest fingerprint latDirection longDirection publicKey regex replacement service tag target value"
)
_NUMBER_DATA: Final = (
    "algorithm altitude digestType keyTag latDegrees latMinutes latSeconds longDegrees longMinutes longSeconds "
    "matchingType order port precisionHorz precisionVert preference priority protocol selector size type usage weight"
)
_DATA: Final[Mapping[str, Field]] = {
    **dict.fromkeys(_TEXT_DATA.split(), Field()),
    **dict.fromkeys(_NUMBER_DATA.split(), _NUMBER),
    "flags": Field(type="any"),
}
_SETTINGS: Final = ("flattenCname", "ipv4Only", "ipv6Only")
_FILTER: Final = Field(type="object", fields=dict.fromkeys(("exact", "contains", "startswith", "endswith"), Field()))
_TAG_FILTER: Final = Field(
    type="object",
    fields=dict.fromkeys(("exact", "contains", "startswith", "endswith", "present", "absent"), Field()),
)
_ACCOUNT: Final = Field(type="object", fields={"id": Field(), "name": Field()})
_ZONE_FILTER: Final[Mapping[str, Field]] = {
    "account": _ACCOUNT,
    "direction": Field(choices=("asc", "desc")),
    "match": Field(choices=("any", "all")),
    "name": Field(),
    "order": Field(),
    "status": Field(),
}


class DnsRecord(Resource):
    """One DNS record of a zone."""

    token = "cloudflare:index/dnsRecord:DnsRecord"  # noqa: S105
    inputs: ClassVar[Mapping[str, Field]] = {
        "zoneId": Field(required=True, replaces=True),
        "name": Field(required=True),
        "type": Field(required=True, replaces=True),
        "ttl": Field(type="number", required=True),
        "content": Field(),
        "data": Field(type="object", fields=_DATA),
        "priority": _NUMBER,
        "proxied": _FLAG,
        "comment": Field(),
        "tags": Field(type="list", items=Field()),
        "settings": Field(type="object", fields=dict.fromkeys(_SETTINGS, _FLAG)),
        "privateRouting": _FLAG,
    }
    outputs = ("createdOn", "modifiedOn", "commentModifiedOn", "tagsModifiedOn", "proxiable", "meta")

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def check(self, inputs: Mapping[str, Any]) -> list[Problem]:
        """Refuse a record that says its content twice or not at all."""
        given = [key for key in ("content", "data") if inputs.get(key) is not None]
        if len(given) == 1:
            return []
        return [
            Problem(path="content", reason=f"exactly one of content and data must be set, not {len(given)} of them")
        ]

    def changes(self, state: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Change]:
        """Compare as the provider plans: defaults as defaults, relative names as the full ones."""
        return changes(self.inputs, _comparable(state, inputs), _comparable(inputs, inputs))

    async def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """POST the record."""
        if inputs.get("proxied") and inputs["ttl"] != 1:
            raise Failure("ttl must be set to 1 when `proxied` is true")
        path = f"zones/{inputs['zoneId']}/dns_records"
        answer = await Api(self._provider.settings).call("POST", path, body=_body(inputs), call=call)
        return answer["result"]["id"], self._computed(answer["result"])

    async def read(self, call: Call, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """GET the record; what comes back is the state, whatever was planned."""
        zone, _, record = resource_id.rpartition("/")
        zone = zone or state.get("zoneId", "")
        if not zone:
            raise Failure(f"to import a DNS record its id must be <zone_id>/<dns_record_id>, not {resource_id!r}")
        try:
            answer = await Api(self._provider.settings).call("GET", f"zones/{zone}/dns_records/{record}", call=call)
        except NotFound:
            return None
        result = answer["result"]
        current = {key: result.get(_snake(key)) for key in self.inputs if key != "zoneId"}
        current["data"] = _camel(result["data"]) if result.get("data") else None
        current["settings"] = _camel(result["settings"]) if result.get("settings") else state.get("settings")
        current["tags"] = result.get("tags") or state.get("tags")
        if current["data"] and "content" not in state:
            current["content"] = None
        return record, {**current, "zoneId": zone, **self._computed(result)}

    async def update(
        self, call: Call, resource_id: str, state: dict[str, Any], inputs: dict[str, Any]
    ) -> dict[str, Any]:
        """PUT the whole record, with null for what is no longer there."""
        removed = {_snake(key): None for key in self.inputs if key in state and key not in inputs}
        for defaulted in ("proxied", "tags", "settings"):
            removed.pop(defaulted, None)
        path = f"zones/{inputs['zoneId']}/dns_records/{resource_id}"
        answer = await Api(self._provider.settings).call("PUT", path, body=removed | _body(inputs), call=call)
        return self._computed(answer["result"])

    async def delete(self, call: Call, resource_id: str, state: dict[str, Any]) -> None:
        """DELETE the record; that it is already gone is an error, as in the provider."""
        path = f"zones/{state['zoneId']}/dns_records/{resource_id}"
        await Api(self._provider.settings).call("DELETE", path, call=call)

    def _computed(self, result: Mapping[str, Any]) -> dict[str, Any]:
        computed = {key: result.get(_snake(key)) for key in self.outputs}
        computed["meta"] = json.dumps(result.get("meta") or {}, sort_keys=True, separators=(",", ":"))
        return computed


class CloudflareProvider(Provider):
    """The package `cloudflare`."""

    version = "6.17.0"
    config: ClassVar[Mapping[str, Field]] = {
        "apiToken": Field(secret=True),
        "apiKey": Field(secret=True),
        "apiUserServiceKey": Field(secret=True),
        "email": Field(),
        "baseUrl": Field(),
        "userAgentOperatorSuffix": Field(),
    }

    def __init__(self) -> None:
        super().__init__()
        self.resources = {DnsRecord.token: DnsRecord(self)}
        one = {**_ZONE_FILTER, "match": Field(choices=("any", "all"), required=True)}
        zone = {"zoneId": Field(), "filter": Field(type="object", fields=one)}
        items = {"maxItems": Field(type="integer")}
        records = {
            "zoneId": Field(required=True),
            "name": _FILTER,
            "content": _FILTER,
            "comment": _TAG_FILTER,
            "tag": _TAG_FILTER,
            **dict.fromkeys(("direction", "match", "order", "search", "tagMatch", "type"), Field()),
            "proxied": _FLAG,
        }
        self.functions = {
            "cloudflare:index/getZone:getZone": (zone, self._get_zone),
            "cloudflare:index/getZones:getZones": ({**_ZONE_FILTER, **items}, self._get_zones),
            "cloudflare:index/getDnsRecords:getDnsRecords": ({**records, **items}, self._get_dns_records),
        }

    def check_config(self, settings: Mapping[str, Any]) -> list[Problem]:
        """Refuse a token that cannot be one; Cloudflare is not asked."""
        token = settings.get("apiToken")
        if token is None or _TOKEN.fullmatch(token):
            return []
        reason = (
            "API tokens must be 40 to 80 characters and only contain characters a-z, A-Z, 0-9, hyphens and underscores"
        )
        return [Problem(path="apiToken", reason=reason)]

    async def _get_zone(self, args: dict[str, Any]) -> dict[str, Any]:
        api = Api(self.settings)
        zone_id = args.get("zoneId")
        if zone_id is None:
            query = _query(args.get("filter") or {})
            # Like the provider: the first page only, and exactly one result.
            found = (await api.call("GET", "zones", query=query))["result"]
            if len(found) != 1:
                wanted = ", ".join(f"{key} {value}" for key, value in sorted(query.items()))
                raise Failure(f"expected exactly one zone with {wanted}, found {len(found)}")
            zone_id = found[0]["id"]
        zone = (await api.call("GET", f"zones/{zone_id}"))["result"]
        return {**_camel(zone), "zoneId": zone["id"], "filter": args.get("filter")}

    async def _get_zones(self, args: dict[str, Any]) -> dict[str, Any]:
        return {**args, "results": await self._all("zones", args)}

    async def _get_dns_records(self, args: dict[str, Any]) -> dict[str, Any]:
        query = {key: value for key, value in args.items() if key != "zoneId"}
        results = await self._all(f"zones/{args['zoneId']}/dns_records", query)
        for result in results:
            result["meta"] = json.dumps(result.get("meta") or {}, sort_keys=True, separators=(",", ":"))
        return {**args, "results": results}

    async def _all(self, path: str, args: Mapping[str, Any]) -> list[dict[str, Any]]:
        most = int(args.get("maxItems", _MOST_ITEMS))
        query = _query({key: value for key, value in args.items() if key != "maxItems"})
        found: list[dict[str, Any]] = []
        page = 1
        while len(found) < most:
            part = (await Api(self.settings).call("GET", path, query={**query, "page": str(page)}))["result"]
            if not part:
                break
            found += [_camel(item) for item in part]
            page += 1
        return found[:most]


def _body(inputs: Mapping[str, Any]) -> dict[str, Any]:
    body = {_snake(key): _request_value(value) for key, value in inputs.items() if key != "zoneId"}
    return {"proxied": False, **body}


def _request_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake(key): _request_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_request_value(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _comparable(values: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of a record's values when they are compared to the inputs."""
    settings = values.get("settings") or {}
    name, wanted = values.get("name"), inputs.get("name")
    content = values.get("content")
    if isinstance(content, str) and inputs.get("type") == "CNAME":
        content = content.lower()
    return {
        **values,
        "proxied": values.get("proxied", False),
        "tags": values.get("tags") or None,
        "settings": {key: settings.get(key) or False for key in _SETTINGS} if isinstance(settings, dict) else settings,
        # The provider's rule, with its weakness: "a" also stands for "a.b.example".
        "name": wanted if isinstance(name, str) and name.startswith(f"{wanted}.") else name,
        # Computed from data where that is given.
        "content": None if inputs.get("data") is not None else content,
    }


def _query(args: Mapping[str, Any]) -> dict[str, str]:
    query: dict[str, str] = {}
    for key, value in args.items():
        if isinstance(value, dict):
            query |= {f"{_snake(key)}.{inner}": str(item) for inner, item in value.items() if item is not None}
        else:
            query[_snake(key)] = str(value).lower() if isinstance(value, bool) else str(value)
    return query


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)


def _camel(value: Any) -> Any:
    """Keys in camel case, all the way down; nulls left out."""
    if isinstance(value, dict):
        renamed = {re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), key): item for key, item in value.items()}
        return {key: _camel(item) for key, item in renamed.items() if item is not None}
    return [_camel(item) for item in value] if isinstance(value, list) else value
