"""What `mailhostctl` reads: the manifest of a service's files, and the document its secret files travel in."""

import json
from collections.abc import Iterable

from model.files import ConfigFile


def manifest(files: Iterable[ConfigFile], health: Iterable[str] = (), requires: Iterable[str] = ()) -> str:
    """Return the manifest as JSON, the same text for the same files in any order.

    Args:
        files: the service's files; their content is named by digest only.
        health: probes to pass after the reload, in this order.
        requires: paths that must exist on the host before, such as a certificate.

    Raises:
        ValueError: two files with one path.
    """
    entries: dict[str, dict[str, str]] = {}
    for file in files:
        if file.path in entries:
            raise ValueError(f"{file.path}: listed twice")
        entries[file.path] = {"mode": file.mode, "owner": file.owner, "sha256": file.sha256}
    document = {"files": entries, "health": list(health), "requires": sorted(requires)}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def secrets_document(files: Iterable[ConfigFile]) -> str:
    """Return the secret files of a service as `mailhostctl stage-secrets` reads them, the same text in any order."""
    document = {file.path: {"mode": file.mode, "owner": file.owner, "content": file.content} for file in files}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
