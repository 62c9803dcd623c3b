"""The HTTP side: routes, authentication, paging and filters of api.cloudflare.com/client/v4."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from lab.cloudflare_api import records as rules
from lab.cloudflare_api.errors import ApiError, authentication, no_record, no_route
from lab.cloudflare_api.publisher import Publisher
from lab.cloudflare_api.store import Store

_LOG: Final = logging.getLogger(__name__)
PREFIX: Final = "/client/v4"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_BEARER: Final = re.compile(r"Bearer [0-9A-Za-z\-_]{40,80}")
_PAGE_SIZE: Final[Mapping[str, tuple[int, int]]] = {"zones": (20, 50), "dns_records": (100, 5_000_000)}
_CREATED: Final = "2026-01-01T00:00:00.000000Z"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the service is started with."""

    powerdns: str
    """Base URL of PowerDNS's web server."""
    key: str
    """PowerDNS's X-API-Key."""
    token: str
    """The one API token that is let in."""
    state: Path
    """File that keeps the records."""
    zones: tuple[str, ...]
    """Names of the zones that exist here, once PowerDNS serves them."""
    delays: Path | None = None
    """Holds seconds or "hold": how late PowerDNS learns of a change. Read at each change; absent means at once.

    While there is a file ZONE.mute, no record of the zone that was made or changed is answered for.
    """
    known_zones: set[str] = field(default_factory=set)


def zone_id(name: str) -> str:
    """The id of a zone here: always the same for a name."""
    return hashlib.sha256(b"mailhost lab zone " + name.encode()).hexdigest()[:32]


def application(settings: Settings) -> web.Application:
    """The service; starting it also publishes what its state file holds."""
    app = web.Application(middlewares=[_envelope(settings.token)])
    service = _Service(settings)
    app.cleanup_ctx.append(service.running)
    zone, item = f"{PREFIX}/zones/{{zone_id}}", f"{PREFIX}/zones/{{zone_id}}/dns_records/{{record_id}}"
    app.router.add_get(f"{PREFIX}/user/tokens/verify", service.verify)
    app.router.add_get(f"{PREFIX}/zones", service.zones)
    app.router.add_get(zone, service.zone)
    app.router.add_get(f"{zone}/dns_records", service.records)
    app.router.add_post(f"{zone}/dns_records", service.create)
    app.router.add_get(item, service.record)
    app.router.add_put(item, service.overwrite)
    app.router.add_patch(item, service.edit)
    app.router.add_delete(item, service.delete)
    return app


def _envelope(token: str) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            _authenticate(request, token)
            return await handler(request)
        except ApiError as error:
            return _failed(error)
        except web.HTTPNotFound:
            return _failed(ApiError(400, 7000, "No route for that URI"))
        except web.HTTPMethodNotAllowed:
            return _failed(ApiError(405, 10405, "Method not allowed"))
        except web.HTTPException:
            raise
        except Exception:
            _LOG.exception("%s %s failed", request.method, request.path)
            return _failed(ApiError(500, 1000, "the lab's Cloudflare API failed; its log says why"))

    return middleware


def _failed(error: ApiError) -> web.Response:
    # Without this header clients would repeat a 5xx for minutes.
    headers = {"x-should-retry": "false"} if error.status >= 500 else None  # noqa: PLR2004
    return web.json_response(error.body, status=error.status, headers=headers)


def _authenticate(request: web.Request, token: str) -> None:
    header = request.headers.get("Authorization")
    if header is None:
        raise ApiError(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
    if not _BEARER.fullmatch(header):
        reason = (6111, "Invalid format for Authorization header")
        raise ApiError(400, 6003, "Invalid request headers", reason)
    if not hmac.compare_digest(header, f"Bearer {token}"):
        raise authentication()


class _Service:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings.state)
        self._changing = asyncio.Lock()
        self._publisher = Publisher(
            url=settings.powerdns, key=settings.key, delays=settings.delays, current=self._current
        )

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        del app
        await self._publisher.start()
        restore = asyncio.create_task(self._publisher.restore(self._store.sets()))
        yield
        restore.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await restore
        await self._publisher.stop()

    def _current(self, zone: str, name: str, kind: str) -> dict[str, Any]:
        return rules.rrset(name, kind, self._store.records(zone).values())

    async def verify(self, request: web.Request) -> web.Response:
        del request
        return _success({"id": zone_id("token"), "status": "active"})

    async def zones(self, request: web.Request) -> web.Response:
        query = request.query
        found = [_zone(name) for name in self._settings.zones if await self._exists(name)]
        for key in ("name", "status"):
            if wanted := query.get(key):
                found = [zone for zone in found if zone[key] == wanted.rpartition(":")[2]]
        if wanted := query.get("account.id"):
            found = [zone for zone in found if zone["account"]["id"] == wanted]
        return _page("zones", query, found)

    async def zone(self, request: web.Request) -> web.Response:
        return _success(_zone(await self._zone_name(request)))

    async def records(self, request: web.Request) -> web.Response:
        found = list(self._store.records(await self._zone_name(request)).values())
        query = request.query
        tests = [test for key, value in query.items() if (test := _filter(key, value)) is not None]
        combine = any if query.get("match") == "any" and tests else all
        found = [item for item in found if combine(test(item) for test in tests)]
        if order := query.get("order"):
            found.sort(key=lambda item: str(item.get(order, "")), reverse=query.get("direction") == "desc")
        return _page("dns_records", query, found)

    async def record(self, request: web.Request) -> web.Response:
        return _success(self._found(await self._zone_name(request), request))

    async def create(self, request: web.Request) -> web.Response:
        zone = await self._zone_name(request)
        new = {"id": secrets.token_hex(16), **rules.record(await _body(request), zone)}
        return _success(await self._put(zone, new, None))

    async def overwrite(self, request: web.Request) -> web.Response:
        zone = await self._zone_name(request)
        old = self._found(zone, request)
        return _success(await self._put(zone, rules.record(await _body(request), zone), old))

    async def edit(self, request: web.Request) -> web.Response:
        zone = await self._zone_name(request)
        old = self._found(zone, request)
        body = await _body(request)
        # What is computed from data may not outlive it.
        kept = {key: value for key, value in old.items() if key != ("content" if "data" in old | body else "data")}
        return _success(await self._put(zone, rules.record(kept | body, zone), old))

    async def delete(self, request: web.Request) -> web.Response:
        zone = await self._zone_name(request)
        async with self._changing:
            old = self._found(zone, request)
            remaining = self._store.records(zone)
            del remaining[old["id"]]
            await self._keep(zone, remaining, {(old["name"], old["type"])})
        return _success({"id": old["id"]})

    async def _put(self, zone: str, new: dict[str, Any], old: Mapping[str, Any] | None) -> dict[str, Any]:
        if new["type"] == "NS" and new["name"] == zone:
            raise ApiError(400, 81062, "The host name of the zone's own NS records may not be used.")
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        previous = old or {}
        record = {
            "id": previous.get("id"),
            **new,
            "proxiable": new["type"] in {"A", "AAAA", "CNAME"},
            "meta": {},
            "created_on": previous.get("created_on", now),
            "modified_on": now,
        }
        if record["comment"] is not None:
            same = record["comment"] == previous.get("comment")
            record["comment_modified_on"] = previous.get("comment_modified_on") if same else now
        async with self._changing:
            records = self._store.records(zone)
            rules.check_conflicts(record, (other for key, other in records.items() if key != record["id"]))
            records[record["id"]] = record
            sets = {(item["name"], item["type"]) for item in (record, previous) if item}
            await self._keep(zone, records, sets)
        await self._publisher.answerable(zone)
        return record

    async def _keep(self, zone: str, records: dict[str, dict[str, Any]], sets: set[tuple[str, str]]) -> None:
        """Store first, publish then: what is published can always be taken away again."""
        before = self._store.records(zone)
        self._store.replace(zone, records)
        try:
            for name, kind in sorted(sets):
                await self._publisher.changed(zone, name, kind)
        except ApiError:
            self._store.replace(zone, before)
            raise

    def _found(self, zone: str, request: web.Request) -> dict[str, Any]:
        record_id = request.match_info["record_id"]
        if not _ID.fullmatch(record_id):
            raise no_route(request.path)
        record = self._store.records(zone).get(record_id)
        if record is None:
            raise no_record()
        return record

    async def _zone_name(self, request: web.Request) -> str:
        wanted = request.match_info["zone_id"]
        if not _ID.fullmatch(wanted):
            raise no_route(request.path)
        for name in self._settings.zones:
            if zone_id(name) == wanted and await self._exists(name):
                return name
        raise authentication()

    async def _exists(self, name: str) -> bool:
        known = self._settings.known_zones
        if name not in known and await self._publisher.exists(name):
            known.add(name)
        return name in known


def _filter(key: str, value: str) -> Callable[[Mapping[str, Any]], bool] | None:
    """One query parameter as a test of a record; None for those that do not select."""
    name, _, how = key.partition(".")
    wanted = value.lower()

    def text(item: Mapping[str, Any]) -> str:
        return str(item.get(name) or "").lower()

    tests: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
        "": lambda item: text(item) == wanted,
        "exact": lambda item: text(item) == wanted,
        "contains": lambda item: wanted in text(item),
        "startswith": lambda item: text(item).startswith(wanted),
        "endswith": lambda item: text(item).endswith(wanted),
        "present": lambda item: bool(text(item)),
        "absent": lambda item: not text(item),
    }
    if name == "search":
        return lambda item: any(wanted in str(item.get(part) or "").lower() for part in ("name", "content", "comment"))
    if name in {"name", "content", "comment", "type"}:
        return tests.get(how)
    return (lambda item: item["proxied"] == (wanted == "true")) if name == "proxied" else None


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.text())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, 6007, "Malformed JSON in request body")
    return body


def _success(result: Any, info: Mapping[str, int] | None = None) -> web.Response:
    body = {"result": result, "success": True, "errors": [], "messages": []}
    return web.json_response(body | ({"result_info": info} if info else {}))


def _page(what: str, query: Mapping[str, str], found: Iterable[Any]) -> web.Response:
    items = list(found)
    default, most = _PAGE_SIZE[what]
    page = _positive(query.get("page"), 1)
    size = min(_positive(query.get("per_page"), default), most)
    part = items[(page - 1) * size : page * size]
    pages = -(-len(items) // size)
    info = {"page": page, "per_page": size, "count": len(part), "total_count": len(items), "total_pages": pages}
    return _success(part, info)


def _positive(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ApiError(400, 1004, "DNS Validation Error", (9020, "page and per_page must be positive numbers."))
    return int(text)


def _zone(name: str) -> dict[str, Any]:
    return {
        "id": zone_id(name),
        "name": name,
        "status": "active",
        "type": "full",
        "paused": False,
        "development_mode": 0,
        "name_servers": ["ns1.example", "ns2.example"],
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "created_on": _CREATED,
        "modified_on": _CREATED,
        "activated_on": _CREATED,
        "account": {"id": zone_id("account"), "name": "Lab"},
        "owner": {"id": None, "name": None, "type": "user"},
        "plan": {"id": zone_id("plan"), "name": "Free Website", "price": 0, "currency": "USD", "is_subscribed": False},
        "meta": {"step": 4, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": False},
        "tenant": {"id": None, "name": None},
        "tenant_unit": {"id": None},
        "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read"],
        "vanity_name_servers": [],
        "verification_key": None,
        "cname_suffix": None,
    }
