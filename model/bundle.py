"""The text in which the files of a service travel to the host (read by host/mailhostctl/staging.py)."""

from collections.abc import Iterable

from model.files import ConfigFile


def bundle(files: Iterable[ConfigFile], health: Iterable[str] = (), requires: Iterable[str] = ()) -> str:
    """Return files and conditions as one text, the same for the same files in any order.

    A line with path, mode, owner, number of lines and digest precedes the lines of each file. A changed file therefore
    has a changed line with its name, and a preview shows that line and the file's changed lines only.

    Args:
        files: the service's files.
        health: probes to pass after the reload, in this order.
        requires: paths that must exist on the host before, such as a certificate.

    Raises:
        ValueError: two files have one path.
    """
    by_path: dict[str, ConfigFile] = {}
    for file in files:
        if file.path in by_path:
            raise ValueError(f"{file.path}: listed twice")
        by_path[file.path] = file
    conditions = [f"requires {path}\n" for path in sorted(requires)] + [f"health {probe}\n" for probe in health]
    return "".join(conditions) + "".join(_header(by_path[path]) + by_path[path].content for path in sorted(by_path))


def _header(file: ConfigFile) -> str:
    lines = file.content.count("\n")
    return f"==> {file.path} {file.mode} {file.owner} {lines} {file.sha256} <==\n"
