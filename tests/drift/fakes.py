"""A stack that has deployed two services and three records, a host and a zone as it says, and a pulumi command."""

import json
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doctor.observe.host import Done, SessionError
from tests.unit.samples import RAW

ZONE = "0123456789abcdef0123456789abcdef"
COMMENT = "mailhost prod"
DKIM = '"v=DKIM1; h=sha256; k=rsa; p=" "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"'
SRV = {"priority": 0, "weight": 1, "port": 993, "target": "mail.example.com"}
_PREFIX = "urn:pulumi:prod::mailhost::mailhost:index:MailHost$"


def urn(kind: str, name: str) -> str:
    return f"{_PREFIX}{kind}::{name}"


def command(name: str, create: str, stdout: str, **more: Any) -> dict[str, Any]:
    """A command in the state."""
    kind = "command:remote:Command"
    return {
        "type": kind,
        "urn": urn(kind, name),
        "inputs": {"create": create},
        "outputs": {"create": create, "stdout": stdout},
        **more,
    }


def record(name: str, kind: str, **values: Any) -> dict[str, Any]:
    """A record as the API and the state agree on it."""
    number = f"{name} {kind}".encode().hex()[:32]
    return {"id": number, "name": name, "type": kind, "ttl": 60, "proxied": False, "comment": COMMENT, **values}


RECORDS = (
    record("example.com", "MX", content="mail.example.com", priority=10),
    record("mail._domainkey.example.com", "TXT", content=DKIM),
    record(
        "_imaps._tcp.example.com", "SRV", data={"priority": 0, "weight": 1, "port": 993, "target": "mail.example.com"}
    ),
)
COMMANDS = (
    command("mail-host-install-helper", "python3 - --sha256 ab --serial 1", "ab"),
    command("mail-packages-install", "sudo -n mailhostctl packages --serial 2", "dovecot 2.4\npostfix 3.10"),
    command("mail-dovecot-apply", "mailhostctl apply dovecot --serial 3", "d" * 64),
    command("mail-postfix-apply", "sudo -n mailhostctl apply postfix --serial 4-5", "a" * 64),
    command("mail-postfix-files", "mailhostctl stage postfix files", "5"),
    command("mail-postfix-apply", "mailhostctl apply postfix --serial 1", "0" * 64, delete=True),
)


def state(records: Sequence[dict[str, Any]] = RECORDS) -> dict[str, Any]:
    """An exported state."""
    kind = "cloudflare:index/dnsRecord:DnsRecord"
    published = [
        {
            "type": kind,
            "urn": urn(kind, f"mail-{entry['type'].lower()}"),
            "id": entry["id"],
            # The content of a record with data may be of an earlier update.
            "outputs": {**entry, "zoneId": ZONE, **({"content": "0 1 1 stale.example"} if "data" in entry else {})},
        }
        for entry in records
    ]
    return {"deployment": {"resources": [{"type": "pulumi:pulumi:Stack"}, *COMMANDS, *published]}}


@dataclass(kw_only=True)
class World:
    """The host and the zone as the command meets them, and what it did there."""

    folder: Path
    findings: list[dict[str, str]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=lambda: [dict(entry) for entry in RECORDS])
    host: Done | SessionError | None = None
    """What the host answers instead of its findings."""
    asked: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """Commands on the host, and deletions at Cloudflare."""

    def prepare(self) -> None:
        """Write the project, and a pulumi command that logs what it is told to do."""
        values = {f"mailhost:{key}": {"value": value, "secret": False} for key, value in RAW.items()}
        values["cloudflare:apiToken"] = {"value": "a-token", "secret": True}
        (self.folder / "config.json").write_text(json.dumps(values))
        self.remember(state())
        program = self.folder / "pulumi"
        program.write_text(
            f"#!/bin/sh\ncd {self.folder}\n"
            'case "$1 $2" in "config "*) cat config.json ;; "stack export") cat state.json ;;\n'
            '*) echo "$*" >> log; echo "pulumi works"; [ ! -e fails ] ;; esac\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def remember(self, exported: dict[str, Any]) -> None:
        (self.folder / "state.json").write_text(json.dumps(exported))

    @property
    def commands(self) -> list[str]:
        """What the pulumi command was told to do."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def run(self, _settings: object, words: Sequence[str], *, stdin: str, timeout: float, patience: float) -> Done:
        """Be the host."""
        assert 0 < timeout <= patience
        if words[1] == "drift":
            self.asked.append(stdin)
            if isinstance(self.host, SessionError):
                raise self.host
            document = {"services": {"dovecot": 1, "postfix": 3}, "findings": self.findings}
            return self.host or Done(status=0, out=json.dumps(document), said="", started=0)
        self.done.append(" ".join(words))
        self.findings = [each for each in self.findings if each["service"] != words[2] or each["mend"] != "reapply"]
        return Done(status=0, out="", said="", started=0)

    def api(self, _api: object, path: str, *, timeout: float, method: str = "GET") -> Any:
        """Be Cloudflare, two records a page."""
        assert timeout > 0
        if method == "DELETE":
            self.done.append(f"DELETE {path}")
            self.records = [entry for entry in self.records if entry["id"] != path.rpartition("/")[2]]
            return {}
        if path.startswith("zones?"):
            return {"result": [{"id": "other", "status": "active"}]}
        page = int(path.rpartition("page=")[2])
        if path.startswith("zones/other/"):
            return {"result": [], "result_info": {"total_pages": 0}}
        assert path.startswith(f"zones/{ZONE}/dns_records?")
        return {
            "result": self.records[2 * (page - 1) : 2 * page],
            "result_info": {"total_pages": -(-len(self.records) // 2)},
        }


def finding(service: str, what: str, mend: str) -> dict[str, str]:
    """What the host says of itself."""
    return {"service": service, "what": what, "wanted": "w", "found": "f", "mend": mend}
