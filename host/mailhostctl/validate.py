"""The candidate: the wanted files in a scratch tree, judged by the daemons' own parsers before any live file changes.

Inside text files every managed path stands rewritten to its place in the scratch tree, so that a file which names
another managed file is judged together with the new version of it. Live files are never written from this tree.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from mailhostctl import durable
from mailhostctl.manifest import Manifest
from mailhostctl.paths import below
from mailhostctl.system import Completed, MailhostError, run


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The scratch tree and where each managed file lies in it."""

    folder: Path
    files: dict[str, Path]

    def accept(self, done: Completed, what: str, *, silent: bool = False) -> Completed:
        """Raises `MailhostError` in the parser's words unless it exited 0 (`silent`: and wrote nothing to stderr)."""
        if done.code != 0 or (silent and done.err.strip()):
            raise MailhostError(f"{what} refuses the new files; nothing was changed:\n{self._live_paths(done.said)}")
        return done

    def _live_paths(self, text: str) -> str:
        return text.replace(str(self.folder), "")


def build(folder: Path, manifest: Manifest, contents: dict[str, bytes]) -> Candidate:
    """Writes the scratch tree anew. It needs no durability: a run that dies leaves it to be replaced."""
    durable.remove_tree(folder)
    files = {path: below(folder, path) for path in contents}
    # A path ends where no further path character follows: /etc/dovecot/users is not in /etc/dovecot/users.d.
    names = "|".join(re.escape(path) for path in sorted(contents, key=len, reverse=True))
    managed = re.compile(rf"(?<![\w./-])(?:{names})(?![\w/-]|\.\w)".encode())
    for path, place in files.items():
        durable.make_folder(place.parent, 0o755)
        data = managed.sub(lambda found: bytes(files[found[0].decode()]), contents[path])
        place.touch(mode=0o600)
        place.write_bytes(data)
        place.chmod(manifest.files[path].mode)
        durable.backdate(place)
    return Candidate(folder=folder, files=files)


def common(candidate: Candidate) -> None:
    """What can be judged by path or first line, whatever the service: systemd's folders and shell scripts."""
    for path, place in candidate.files.items():
        if path.startswith("/etc/sysusers.d/"):
            candidate.accept(run(["systemd-sysusers", "--dry-run", str(place)]), "systemd-sysusers")
        elif path.startswith("/etc/tmpfiles.d/"):
            # Every line is parsed, none is in the prefix: systemd before 256 has no --dry-run.
            command = ["systemd-tmpfiles", "--create", "--prefix=/nonexistent", str(place)]
            candidate.accept(run(command), "systemd-tmpfiles")
        elif place.read_bytes()[:64].startswith((b"#!/bin/sh", b"#!/bin/bash")):
            shell = "bash" if place.read_bytes().startswith(b"#!/bin/bash") else "sh"
            candidate.accept(run([shell, "-n", str(place)]), f"{shell} -n")


def postfix(candidate: Candidate) -> None:
    """`postfix check` (its warnings may be about other files), and `postconf`, whose warnings are about these."""
    folder = str(candidate.folder / "etc/postfix")
    started = int(time.time())
    checked = run(["postfix", "-c", folder, "check"])
    if checked.code != 0:
        # Without a terminal Postfix tells its reason to the log alone, before version 3.10.
        tags = ["-t", "postfix", "-t", "postfix/postfix-script"]
        logged = run(["journalctl", "--no-pager", "-o", "cat", *tags, f"--since=@{started}"], timeout=10)
        checked = replace(checked, err=f"{checked.err}{logged.out}")
    candidate.accept(checked, "postfix check")
    for option in ([], ["-M"]):
        candidate.accept(run(["postconf", "-c", folder, *option]), "postconf", silent=True)


def dovecot(candidate: Candidate) -> None:
    """`doveconf -n` reads the whole configuration."""
    main = candidate.files.get("/etc/dovecot/dovecot.conf")
    if main is not None:
        candidate.accept(run(["doveconf", "-c", str(main), "-n"]), "doveconf")


def accounts(candidate: Candidate) -> None:
    """Each line of the users file must be `user:{SCHEME}hash…`. The message tells the line's number, never its text."""
    users = candidate.files.get("/etc/dovecot/users")
    if users is None:
        return
    for number, line in enumerate(users.read_text().splitlines(), start=1):
        if line and not line.startswith("#") and not re.match(r"[^:\s]+@[^:\s]+:\{[A-Z0-9-]+\}[^:\s]+(:|$)", line):
            raise MailhostError(f"/etc/dovecot/users line {number}: must be user@domain:{{SCHEME}}hash")


def opendkim(candidate: Candidate) -> None:
    """`opendkim -n` reads the configuration and the tables it names, and exits."""
    main = candidate.files.get("/etc/opendkim.conf")
    if main is not None:
        candidate.accept(run(["opendkim", "-n", "-x", str(main)]), "opendkim")


def firewall(candidate: Candidate, ssh_ports: list[tuple[str, int]]) -> None:
    """The kernel's own judgement of ufw's rules, and that the SSH connection in use stays allowed.

    `ssh_ports` holds (server address, port) of the connection this program was called through, if any.
    """
    for name, restore in (("user.rules", "iptables-restore"), ("user6.rules", "ip6tables-restore")):
        rules = candidate.files.get(f"/etc/ufw/{name}")
        if rules is None:
            continue
        candidate.accept(run([restore, "--test", "--noflush"], stdin=rules.read_bytes()), restore)
        for address, port in ssh_ports:
            if (":" in address) == (name == "user6.rules") and port not in allowed_tcp_ports(rules.read_text()):
                raise MailhostError(
                    f"firewall: {name} does not allow tcp port {port}, the one this SSH connection uses; "
                    "allow it, or you would be locked out"
                )


def allowed_tcp_ports(rules: str) -> set[int]:
    """Destination ports that ufw rules accept (or limit) for TCP from anywhere."""
    ports: set[int] = set()
    for line in rules.splitlines():
        words = line.split()
        accepts = words[:1] == ["-A"] and (words[-1] == "ACCEPT" or words[-1].endswith("-user-limit-accept"))
        if not accepts or "-s" in words or "-p tcp " not in line:
            continue
        for option in ("--dport", "--dports"):
            if option in words:
                for item in words[words.index(option) + 1].split(","):
                    low, _, high = item.partition(":")
                    ports.update(range(int(low), int(high or low) + 1))
    return ports
