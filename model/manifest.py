"""What `mailhostctl` reads: the manifest of a service's files, and the text they travel in."""

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


def bundle(files: Iterable[ConfigFile]) -> str:
    """Return files as the one text that `mailhostctl stage` reads, the same for the same files in any order.

    A line with path, mode, owner, number of lines and digest is above each file's lines. A changed file so has a
    changed line with its name, and a preview shows the two with what changed and leaves everything else out.
    """
    return "".join(_above(file) + file.content for file in sorted(files, key=lambda file: file.path))


def _above(file: ConfigFile) -> str:
    lines = file.content.count("\n")
    return f"==> {file.path} {file.mode} {file.owner} {lines} {file.sha256} <==\n"
