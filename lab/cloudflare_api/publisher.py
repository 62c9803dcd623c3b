"""Brings stored records into PowerDNS, at once or as late as a fault test wants it."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from lab.cloudflare_api.errors import ApiError, invalid

_LOG: Final = logging.getLogger(__name__)
_POLL: Final = 0.1  # seconds between looks at the delay files, and between attempts at a PowerDNS that is not up
_TRIES: Final = 30
_HOLD: Final = "hold"


class Publisher:
    """Writes rrsets over PowerDNS's REST API (doc.powerdns.com/authoritative/http-api/zone.html)."""

    def __init__(
        self, *, url: str, key: str, delays: Path | None, current: Callable[[str, str, str], dict[str, Any]]
    ) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/servers/localhost/zones"
        self._key = key
        self._delays = delays
        self._current = current
        self._session: aiohttp.ClientSession | None = None
        self._late: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the client session."""
        timeout = aiohttp.ClientTimeout(total=10)
        self._session = aiohttp.ClientSession(headers={"X-API-Key": self._key}, timeout=timeout)

    async def stop(self) -> None:
        """Drop what is still held back (a restart publishes it) and close the session."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def exists(self, zone: str) -> bool:
        """Whether PowerDNS serves the zone."""
        status, _ = await self._request("GET", f"{zone}.?rrsets=false")
        return status == 200  # noqa: PLR2004

    async def changed(self, zone: str, name: str, kind: str) -> None:
        """Publish the set as it now is; with a delay, later, and this returns at once.

        Raises:
            ApiError: PowerDNS does not take it.
        """
        if self._delay(zone):
            task = asyncio.create_task(self._publish_late(zone, name, kind))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return
        await self._publish(zone, name, kind)

    async def answerable(self, zone: str) -> None:
        """Wait for as long as no change of the zone is to be answered."""
        while self._delays and (self._delays / f"{zone}.mute").exists():
            await asyncio.sleep(_POLL)

    async def restore(self, sets: list[tuple[str, str, str]]) -> None:
        """Publish everything again, as soon as PowerDNS answers: it may be a new one."""
        for zone, name, kind in sets:
            while True:
                try:
                    await self._publish(zone, name, kind)
                except ApiError as error:
                    if error.status < 500:  # noqa: PLR2004
                        _LOG.warning("%s %s not published: %s", name, kind, error)
                        break
                    await asyncio.sleep(_POLL)
                else:
                    break

    def _delay(self, zone: str) -> str:
        try:
            return (self._delays / zone).read_text(encoding="utf-8").strip() if self._delays else ""
        except FileNotFoundError:
            return ""

    async def _publish_late(self, zone: str, name: str, kind: str) -> None:
        delay = self._delay(zone)
        if delay == _HOLD:
            while self._delay(zone) == _HOLD:
                await asyncio.sleep(_POLL)
        elif delay:
            await asyncio.sleep(float(delay))
        await self.restore([(zone, name, kind)])

    async def _publish(self, zone: str, name: str, kind: str) -> None:
        for _ in range(_TRIES):
            status, answer = await self._request("PATCH", f"{zone}.", {"rrsets": [self._current(zone, name, kind)]})
            if status != 500:  # noqa: PLR2004
                break
            # Somebody else is writing: for SQLite "database is locked" then.
            await asyncio.sleep(_POLL)
        if status == 422:  # noqa: PLR2004
            raise invalid(9999, f"Content for {kind} record is invalid. ({answer.get('error', '')})")
        if status != 204:  # noqa: PLR2004
            raise ApiError(500, 1000, f"the lab's DNS server answered {status}: {answer.get('error', '')}")
        _LOG.info("published %s %s", name, kind)

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        if self._session is None:
            raise RuntimeError("the publisher is not started")
        try:
            async with self._session.request(method, f"{self._url}/{path}", json=body) as response:
                text = await response.text()
                answer = await response.json() if text.startswith("{") else {"error": text}
                return response.status, answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(500, 1000, f"the lab's DNS server does not answer: {type(error).__name__}") from error
