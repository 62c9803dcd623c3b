"""The service and a PowerDNS that only remembers, both on loopback ports of their own."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from lab.cloudflare_api.service import Settings, application

ZONE = "trixie.example"
TOKEN = "lab-token-0123456789-0123456789-0123456789"  # noqa: S105 - opens nothing
KEY = "powerdns-key"


@dataclass
class FakePowerDns:
    """Keeps the sets it is given; refuses what the real one refuses."""

    zones: set[str] = field(default_factory=lambda: {f"{ZONE}.", "other.example."})
    sets: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    patches: int = 0
    locked: int = 0
    """How many changes will still meet another writer."""

    def contents(self, name: str, kind: str) -> list[str]:
        """Contents published for a name, given without its trailing dot."""
        return [record["content"] for record in self.sets.get((f"{name}.", kind), {}).get("records", [])]

    def application(self) -> web.Application:
        """Two routes of the REST API."""
        app = web.Application()
        app.router.add_get("/api/v1/servers/localhost/zones/{zone}", self._get)
        app.router.add_patch("/api/v1/servers/localhost/zones/{zone}", self._patch)
        return app

    def _refusal(self, request: web.Request) -> web.Response | None:
        if request.headers.get("X-API-Key") != KEY:
            return web.Response(status=401, text="Unauthorized")
        return (
            None if request.match_info["zone"] in self.zones else web.json_response({"error": "Not Found"}, status=404)
        )

    async def _get(self, request: web.Request) -> web.Response:
        return self._refusal(request) or web.json_response({"name": request.match_info["zone"]})

    async def _patch(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        if self.locked:
            self.locked -= 1
            return web.Response(status=500, text="Internal Server Error")
        self.patches += 1
        for rrset in (await request.json())["rrsets"]:
            key = (rrset["name"], rrset["type"])
            if rrset["changetype"] == "DELETE":
                self.sets.pop(key, None)
                continue
            for record in rrset["records"]:
                if rrset["type"] == "TXT" and not record["content"].startswith('"'):
                    return web.json_response({"error": "should start with quote"}, status=422)
                if rrset["type"] in {"MX", "CNAME"} and not record["content"].endswith("."):
                    return web.json_response({"error": "not absolute"}, status=422)
                if record["content"] == "203.0.113.255":
                    return web.json_response({"error": "refused by the test"}, status=422)
            self.sets[key] = rrset
        return web.Response(status=204)


class Background:
    """An event loop in a thread, for servers that blocking clients talk to."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._runners: list[web.AppRunner] = []

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine run in the thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=20)

    def serve(self, app: web.Application) -> str:
        """Serve an application on a free loopback port; returns its base URL."""

        async def start() -> str:
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        url: str = self.run(start())
        return url

    def end(self, *, last: bool = False) -> None:
        """Stop the servers in reverse order, or only the last one."""
        while self._runners:
            self.run(self._runners.pop().cleanup())
            if last:
                return

    def close(self) -> None:
        """Stop everything."""
        self.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Lab:
    """The service under test and what stands around it."""

    background: Background
    powerdns: FakePowerDns
    powerdns_url: str
    folder: Path
    url: str = ""

    @classmethod
    def started(cls, background: Background, folder: Path) -> "Lab":
        """A running service with its state in this folder."""
        powerdns = FakePowerDns()
        lab = cls(background, powerdns, background.serve(powerdns.application()), folder)
        lab.start()
        return lab

    @property
    def delays(self) -> Path:
        """Folder beside the state, which stays alone in its own."""
        return self.folder.parent / f"{self.folder.name}-delays"

    @property
    def delay_file(self) -> Path:
        """Where the test writes how late PowerDNS learns of changes."""
        return self.delays / ZONE

    def start(self) -> None:
        """Start the service on the state of this test."""
        self.delays.mkdir(exist_ok=True)
        settings = Settings(
            powerdns=self.powerdns_url,
            key=KEY,
            token=TOKEN,
            state=self.folder / "records.json",
            zones=(ZONE, "other.example", "absent.example"),
            delays=self.delays,
        )
        self.url = f"{self.background.serve(application(settings))}/client/v4"

    def restart(self) -> None:
        """Stop the service as SIGTERM would, and start it again."""
        self.background.end(last=True)
        self.start()
