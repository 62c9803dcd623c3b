"""The zones' records on disk: one JSON file, replaced atomically with each change."""

import json
import os
from pathlib import Path
from typing import Any


class Store:
    """Records by zone name and record id, and the names and types ever published (to take them away again)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self._records: dict[str, dict[str, dict[str, Any]]] = state.get("records", {})
        self._published: set[tuple[str, str, str]] = {tuple(key) for key in state.get("published", [])}

    def records(self, zone: str) -> dict[str, dict[str, Any]]:
        """The zone's records by id, in the order they were made."""
        return dict(self._records.get(zone, {}))

    def replace(self, zone: str, records: dict[str, dict[str, Any]]) -> None:
        """Keep these records for the zone; on disk when this returns."""
        self._records[zone] = records
        self._published |= {(zone, record["name"], record["type"]) for record in records.values()}
        self._save()

    def sets(self) -> list[tuple[str, str, str]]:
        """Zone, name and type of every set that PowerDNS may hold or should hold."""
        return sorted(self._published)

    def _save(self) -> None:
        state = {"records": self._records, "published": sorted(self._published)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.new")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
