"""Offline stand-in for the resource plugin `cloudflare` 6.17.0: DnsRecord, getZone, getZones and getDnsRecords.

Semantics: terraform-provider-cloudflare v5.19.1, internal/services/{dns_record,zone}, bridged by
pulumi-terraform-bridge v3.130.0, pkg/pf/tfbridge. It speaks to the lab's API only.

It is stricter on purpose: the official plugin ignores an input whose name is misspelt, and turns the text "300" into a
number; here both are refused, so that a mistake in this program is found in the lab. For the same reason a record needs
exactly one of content and data.
"""

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from lab.plugins.cloudflare_http import REQUEST_FAILED, Api, NotFound
from lab.plugins.schema import Change, Field, Problem, changes
from lab.plugins.serve import Call, Diagnostic, Provider, Resource
from lab.plugins.values import UNKNOWN, Unknown

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
        """Refuse a record that says its content twice or not at all; the provider refuses only the former."""
        given = [key for key in ("content", "data") if inputs.get(key) is not None]
        if len(given) == 1:
            return []
        return [
            Problem(path="content", reason=f"exactly one of content and data must be set, not {len(given)} of them")
        ]

    def changes(self, state: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Change]:
        """Compare the state with the plan, as the provider does."""
        return changes(self.inputs, state, self._plan(state, inputs))

    def planned(self, state: Mapping[str, Any] | None, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the plan says beyond the inputs."""
        return _beyond(inputs, self._plan(state, inputs))

    def imported(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs without zeros and empty values, which the bridge leaves out; content beside data too."""
        values = {key: _meaningful(state[key]) for key in self.inputs if key in state}
        return {key: value for key, value in values.items() if value or self.inputs[key].required}

    async def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """POST the record."""
        del call
        if inputs.get("proxied") and inputs["ttl"] != 1:
            raise Diagnostic(
                "ttl must be set to 1 when `proxied` is true",
                "When a DNS record is marked as `proxied` the TTL must be 1 as Cloudflare will control the TTL "
                "internally.",
            )
        plan = self._plan(None, inputs)
        path = f"zones/{inputs['zoneId']}/dns_records"
        answer = await Api(self._provider.settings).call("POST", path, body=_body(self.inputs, plan, {}))
        outputs = self._applied(plan, inputs, answer.get("result") or {})
        # An answer without an id counts as success. That is how Go prints the missing one.
        return outputs["id"] or "{<nil>}", outputs

    async def read(self, call: Call, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """GET the record; what comes back is the state, whatever was planned."""
        if not state:
            zone, record = _import_id(resource_id)
            return record, await self._get(zone, record)
        zone, record = state.get("zoneId", ""), _record_id(state)
        try:
            return record, await self._get(zone, record)
        except NotFound:
            gone = "The resource was not found on the server and will be removed from state."
            await call.log("warning", f"[WARNING] {gone}: Resource not found")
            return None

    async def update(
        self, call: Call, resource_id: str, state: dict[str, Any], inputs: dict[str, Any]
    ) -> dict[str, Any]:
        """PUT the whole plan, with null for what is no longer there."""
        del call, resource_id
        plan = self._plan(state, inputs)
        path = f"zones/{inputs['zoneId']}/dns_records/{_record_id(state)}"
        answer = await Api(self._provider.settings).call("PUT", path, body=_body(self.inputs, plan, state))
        return self._applied(plan, inputs, answer.get("result") or {})

    async def delete(self, call: Call, resource_id: str, state: dict[str, Any]) -> None:
        """DELETE the record; that it is already gone is an error, as in the provider."""
        del call, resource_id
        path = f"zones/{state['zoneId']}/dns_records/{_record_id(state)}"
        await Api(self._provider.settings).call("DELETE", path)

    async def _get(self, zone: str, record: str) -> dict[str, Any]:
        answer = await Api(self._provider.settings).call("GET", f"zones/{zone}/dns_records/{record}")
        result = answer.get("result") or {}
        current = {key: _camel(result.get(_snake(key))) for key in self.inputs if key != "zoneId"}
        return self._state({**current, "zoneId": zone}, result)

    def _plan(self, state: Mapping[str, Any] | None, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record after the run; what only the run will know is UNKNOWN (ModifyPlan in the provider)."""
        old = state or {}
        later = UNKNOWN if state is None else None
        plan = {
            "proxied": False,
            **inputs,
            "name": _planned_name(old.get("name"), inputs.get("name")),
            "content": _planned_content(old.get("content", later), inputs),
            "tags": inputs.get("tags") or old.get("tags", later),
            "settings": _planned_settings(old.get("settings", later), inputs),
        }
        changed = state is None or bool(changes(self.inputs, old, plan))
        comment = inputs.get("comment")
        commented = old.get("commentModifiedOn") if comment == old.get("comment") else UNKNOWN
        return {
            **plan,
            **{key: old.get(key, UNKNOWN) for key in ("id", "createdOn", "proxiable", "meta")},
            "modifiedOn": UNKNOWN if changed else old.get("modifiedOn"),
            "commentModifiedOn": commented if comment else None,
            "tagsModifiedOn": old.get("tagsModifiedOn", later) if plan["tags"] else None,
        }

    def _applied(self, plan: Mapping[str, Any], inputs: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs beyond the inputs: what was planned stays, what was not comes from the answer."""
        record = {key: plan.get(key) for key in self.inputs}
        for key in ("content", "tags", "settings"):
            if record[key] is None or isinstance(record[key], Unknown):
                record[key] = _camel(result.get(key))
        return _beyond(inputs, self._state(record, result))

    def _state(self, record: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record with what only Cloudflare sets, and the defaults that the provider adds."""
        settings = {"settings": _all_settings(record["settings"])} if record["type"] == "CNAME" else {}
        computed = {key: result.get(_snake(key)) for key in ("id", *self.outputs)}
        computed["meta"] = json.dumps(result.get("meta") or {}, sort_keys=True, separators=(",", ":"))
        return {**record, **settings, **computed}


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
        # Like the provider's, it does not say that a token has 40 to 80 of them.
        reason = (
            "could not validate provider configuration: Invalid Attribute Value. Attribute api_token API tokens must "
            "only contain characters a-z, A-Z, 0-9, hyphens and underscores. "
            "Check `pulumi config get cloudflare:apiToken`."
        )
        return [Problem(path="apiToken", reason=reason)]

    async def _get_zone(self, args: dict[str, Any]) -> dict[str, Any]:
        api = Api(self.settings)
        zone_id = args.get("zoneId")
        if zone_id is None:
            # Like the provider: the first page only, and exactly one result.
            found = (await api.call("GET", "zones", query=_query(args.get("filter") or {})))["result"]
            if len(found) != 1:
                raise Diagnostic("failed to find exactly one result", f"{len(found)} found")
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
        summary = REQUEST_FAILED
        for page in itertools.count(1):
            # The first request does not name its page; the last page is an empty one.
            asked = query if page == 1 else {**query, "page": str(page)}
            part = (await Api(self.settings).call("GET", path, query=asked, summary=summary))["result"]
            found += [_camel(item) for item in part]
            if not part or len(found) >= most:
                break
            summary = "failed to fetch next page"
        return found[:most]


def _import_id(resource_id: str) -> tuple[str, str]:
    parts = resource_id.split("/")
    if len(parts) != 2:  # noqa: PLR2004
        wanted = "<zone_id>/<dns_record_id>"
        raise Diagnostic("invalid ID", f'expected urlencoded segments "{wanted}", got "{resource_id}"')
    return parts[0], parts[1]


def _record_id(state: Mapping[str, Any]) -> str:
    """Return the id among the outputs, the one the provider uses; the engine's own it does not look at."""
    if not state.get("id"):
        raise Diagnostic(REQUEST_FAILED, "missing required dns_record_id parameter")
    return str(state["id"])


def _planned_name(known: Any, wanted: Any) -> Any:
    """Return the known name where the wanted one counts as the same.

    That is the provider's rule with its weakness: "a" also stands for "a.b.example".
    """
    if not isinstance(known, str) or not isinstance(wanted, str):
        return wanted
    same = "." in known if wanted == "@" else known.startswith(f"{wanted.removesuffix('.')}.")
    return known if same else wanted


def _planned_content(known: Any, inputs: Mapping[str, Any]) -> Any:
    """Return the content; beside data it is the known one, though Cloudflare will compute another."""
    wanted = inputs.get("content")
    if wanted is None:
        return known
    both = isinstance(known, str) and isinstance(wanted, str)
    return known if both and inputs.get("type") == "CNAME" and known.lower() == wanted.lower() else wanted


def _planned_settings(known: Any, inputs: Mapping[str, Any]) -> Any:
    wanted = inputs.get("settings")
    if wanted is None or wanted == {}:
        nothing_set = not isinstance(known, Mapping) or not any(known.values())
        wanted = known if wanted is None or nothing_set else wanted
    return _all_settings(wanted) if inputs.get("type") == "CNAME" and not isinstance(wanted, Unknown) else wanted


def _all_settings(settings: Any) -> dict[str, Any]:
    return dict.fromkeys(_SETTINGS, False) | (settings or {})


def _beyond(inputs: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not the inputs' own."""
    return {key: value for key, value in values.items() if key not in inputs or inputs[key] != value}


def _meaningful(value: Any) -> Any:
    """Return the value without parts that are zero or empty."""
    if not isinstance(value, dict):
        return value
    parts = {key: _meaningful(part) for key, part in value.items()}
    return {key: part for key, part in parts.items() if part}


def _body(fields: Mapping[str, Field], plan: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is planned and known, and null for what the state has and the plan has not."""
    body: dict[str, Any] = {}
    for key, field in fields.items():
        value, old = plan.get(key), state.get(key)
        if key == "zoneId" or isinstance(value, Unknown) or (value is None and old is None):
            continue
        if field.fields is not None and isinstance(value, dict):
            body[_snake(key)] = _body(field.fields, value, old if isinstance(old, dict) else {})
        else:
            body[_snake(key)] = int(value) if isinstance(value, float) and value.is_integer() else value
    return body


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
