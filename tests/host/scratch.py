"""A scratch host: a root folder, and daemons played by one small shell script that records and fails on demand."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from mailhostctl.__main__ import main

FAKE = r"""#!/bin/sh
# Plays every command: logs its words, fails where told so, and keeps which unit runs.
name=${0##*/}
echo "$name $*" >> "$FAKE/log"
for case in "$name" "$name $1"; do
    [ -f "$FAKE/fail/$case" ] && { cat "$FAKE/fail/$case" >&2; exit 1; }
done
case "$name $1" in
"systemctl enable" | "systemctl disable")
    [ "$SYSTEMCTL_SKIP_SYSV" = 1 ] || { echo "reloads systemd three times" >&2; exit 1; } ;;
esac
case "$name $1" in
"systemctl is-active") for unit; do :; done; [ -f "$FAKE/active/$unit" ]; exit ;;
"systemctl is-enabled") for unit; do :; done; [ -f "$FAKE/enabled/$unit" ]; exit ;;
"systemctl enable") shift; for unit; do case $unit in --*) ;; *) : > "$FAKE/enabled/$unit" ;; esac; done ;;
"systemctl start") [ "$2" = --no-block ] || : > "$FAKE/active/$2" ;;
"systemctl disable") for unit; do :; done; rm -f "$FAKE/enabled/$unit" "$FAKE/active/$unit" ;;
"systemctl reset-failed") rm -f "$FAKE/limit" ;;
"systemctl restart" | "systemctl reload")
    [ ! -f "$FAKE/limit" ] || { echo "attempted too often" >&2; exit 1; }
    : > "$FAKE/active/$2"
    [ "$2" != postfix.service ] || cp "$MAILHOSTCTL_ROOT/etc/postfix/main.cf" "$FAKE/running" ;;
"systemctl show")
    [ "$2" != --timestamp=unix ] || { cat "$FAKE/started" 2>/dev/null; exit; }
    [ ! -f "$FAKE/active/$4" ] || echo running ;;
"postconf -h") grep -s ^inet_ "$MAILHOSTCTL_ROOT/etc/postfix/main.cf" || echo all ;;
"iptables -n") [ -f "$FAKE/active/ufw" ]; exit ;;
"iptables --wait" | "ip6tables --wait") cat "$FAKE/kernel/$name" ;;
"unshare --net") sed -n 's/^:\([^ ]*\) .*/-N \1/p; /^-A/p' ;;
"ufw --force") if [ "$2" = enable ]; then : > "$FAKE/active/ufw"; else rm -f "$FAKE/active/ufw"; fi ;;
esac
case "$name $*" in
"ufw --force enable" | "ufw reload")
    for pair in iptables:ufw:user.rules ip6tables:ufw6:user6.rules; do
        prefix=${pair#*:} rules=$MAILHOSTCTL_ROOT/etc/ufw/${pair##*:}
        prefix=${prefix%:*}
        [ -f "$rules" ] || continue
        { printf -- '-P INPUT DROP\n-A INPUT -j %s-before-input\n' "$prefix"
          printf -- '-A %s-before-input -j %s-user-input\n' "$prefix" "$prefix"
          unshare --net < "$rules"; } > "$FAKE/kernel/${pair%%:*}"
    done ;;
esac
exit 0
"""
COMMANDS = (
    *("apt-cache", "apt-get", "certbot", "debconf-set-selections", "doveconf", "dpkg", "dpkg-query"),
    *("iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "journalctl", "opendkim", "openssl"),
    *("postconf", "systemctl", "systemd-run"),
    *("postfix", "postmap", "sievec", "systemd-sysusers"),
    *("systemd-tmpfiles", "ufw", "unshare"),
    *("doveadm", "logger", "nginx", "postcat", "postqueue", "postsuper", "ss", "fail2ban-client", "fail2ban-regex"),
    *("logrotate", "pflogsumm", "rsyslogd", "sendmail", "systemd-analyze"),
)


class Host:
    """The scratch host as a test sees it."""

    def __init__(self, memory: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = memory / "root"
        self.fake = disk / "fake"  # memory may be mounted noexec
        self._monkeypatch = monkeypatch
        for path in (self.root, *(self.fake / name for name in ("bin", "fail", "active", "enabled", "kernel"))):
            path.mkdir(parents=True)
        script = self.fake / "play"
        script.write_text(FAKE)
        script.chmod(0o755)
        for command in COMMANDS:
            (self.fake / "bin" / command).symlink_to(script)
        monkeypatch.setenv("PATH", f"{self.fake / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("FAKE", str(self.fake))
        monkeypatch.setenv("MAILHOSTCTL_ROOT", str(self.root))
        monkeypatch.delenv("SSH_CONNECTION", raising=False)

    def run(self, *argv: str, stdin: str = "") -> int:
        """Runs one command of mailhostctl in this process; returns its exit code."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        return main(list(argv))

    def stage(self, service: str, files: Mapping[str, str], mode: str = "0644") -> None:
        assert self.run("stage", service, "files", stdin=bundle(files, mode=mode)) == 0

    def apply(self, service: str, files: Mapping[str, str], *, mode: str = "0644", **more: list[str]) -> int:
        """Applies the files, under conditions where `more` has some."""
        return self.run("apply", service, stdin=bundle(files, mode=mode, **more))

    def live(self, path: str) -> str | None:
        """Content of a live file, None when there is none."""
        file = self.root / path.lstrip("/")
        return file.read_text() if file.exists() else None

    def write(self, path: str, content: str) -> Path:
        """Puts a file on the host as somebody else would."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def play(self, command: str, script: str) -> None:
        """Lets a shell script play `command` from now on."""
        file = self.fake / "bin" / command
        file.unlink()
        file.write_text(f"#!/bin/sh\n{script}")
        file.chmod(0o755)

    def fails(self, command: str, message: str = "no") -> None:
        """From now on, `command` (a name, or a name and its first word) says `message` and exits 1."""
        (self.fake / "fail" / command).write_text(message)

    def works(self, command: str) -> None:
        """Takes a failure back."""
        (self.fake / "fail" / command).unlink()

    def calls(self, prefix: str = "") -> list[str]:
        """Commands called so far that start with `prefix`; forgets all."""
        log = self.fake / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line for line in lines if line.startswith(prefix)]

    @property
    def running(self) -> str | None:
        """What main.cf said when Postfix was last told of it; None while Postfix does not run."""
        told = self.fake / "running"
        return told.read_text() if (self.fake / "active" / "postfix.service").exists() and told.exists() else None

    def state(self, *parts: str) -> Path:
        return self.root.joinpath("var/lib/mailhost", *parts)


def bundle(files: Mapping[str, str], *, mode: str = "0644", **conditions: list[str]) -> str:
    """The files as the program sends them; `conditions`: requires, health."""
    return "".join(f"{kind} {text}\n" for kind, texts in conditions.items() for text in texts) + "".join(
        "==> {} {} root:root {} {} <==\n{}".format(path, mode, content.count("\n"), _digest(content), content)
        for path, content in files.items()
    )


def manifest(files: Mapping[str, str], *, mode: str = "0644", **more: list[str]) -> str:
    """The manifest that the host makes of them."""
    entries = {
        path: {"mode": mode, "owner": "root:root", "sha256": _digest(content)} for path, content in files.items()
    }
    return json.dumps({"files": entries, "health": [], "requires": [], **more}, indent=2, sort_keys=True) + "\n"


def _digest(content: str) -> str:
    return sha256(content.encode()).hexdigest()
