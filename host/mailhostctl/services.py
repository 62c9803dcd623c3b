"""The services: for each, its validator and how it is told of new files. No unit but its own is ever touched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mailhostctl import validate
from mailhostctl.system import MailhostError, must, run


@dataclass(frozen=True)
class Service:
    """Files that are validated, swapped and reloaded together; this plain kind has no daemon to tell."""

    name: str
    unit: str = ""
    check: Callable[[validate.Candidate], None] = lambda _candidate: None

    def validate(self, candidate: validate.Candidate) -> None:
        """Raises `MailhostError` in the daemon's own words when it would refuse the candidate."""
        self.check(candidate)

    def active(self) -> bool:
        """Whether the service does its work now."""
        return True

    def fingerprint(self) -> str:
        """What of the live configuration only a restart brings into effect."""
        return ""

    def activate(self, before: str) -> None:
        """Brings the live files into effect, also after a reboot; `before` is the fingerprint of the former ones."""

    def deactivate(self) -> None:
        """Stops the service, also after a reboot. Repeating it is fine."""


class Daemon(Service):
    """A systemd unit that must be restarted to see new files."""

    def active(self) -> bool:
        """Whether systemd says so."""
        return run(["systemctl", "is-active", "--quiet", self.unit]).code == 0

    def activate(self, before: str) -> None:
        """Reloads where that is enough, else restarts; enables the unit."""
        started = int(time.time())
        verb = "reload" if self.reload_is_enough(before) else "restart"
        if verb == "restart":
            # A unit that has just failed some times may not be started again (StartLimitBurst=), and the way back is
            # a start too.
            run(["systemctl", "reset-failed", *self.processes()])
        done = run(["systemctl", verb, self.unit])
        if done.code != 0:
            raise MailhostError(f"systemctl {verb} {self.unit}: {done.said}\n{self.journal(started)}".rstrip())
        if run(["systemctl", "is-enabled", "--quiet", self.unit]).code != 0:
            must(["systemctl", "enable", "--quiet", self.unit])

    def processes(self) -> tuple[str, ...]:
        """The units in which its processes may run."""
        return (self.unit,)

    def reload_is_enough(self, before: str) -> bool:
        """Whether the daemon can take the live files without a restart."""
        del before
        return False

    def deactivate(self) -> None:
        """Stops and disables the unit; a unit that does not exist is fine."""
        if run(["systemctl", "cat", self.unit]).code == 0:
            must(["systemctl", "disable", "--quiet", "--now", self.unit])

    def journal(self, since: int) -> str:
        """The daemon's own last words since a Unix time: warnings and errors, or all when it uses no such levels."""
        name = self.unit.removesuffix(".service")
        command = ["journalctl", "--no-pager", "-o", "cat", "-n", "12", f"--since=@{since}", "-u", f"{name}*"]
        for level in (["-p", "warning"], []):
            done = run([*command, *level], timeout=10)
            if done.code == 0 and done.out.strip() not in {"", "-- No entries --"}:
                return "\n".join(dict.fromkeys(done.out.strip().splitlines()))
        return ""


class Timer(Daemon):
    """A timer reads no files of ours: it has to run, that is all."""

    def activate(self, before: str) -> None:
        """Enables and starts it."""
        del before
        if not self.active():
            must(["systemctl", "enable", "--quiet", "--now", self.unit])


class Dovecot(Daemon):
    """Dovecot reads all of its configuration again on reload."""

    def reload_is_enough(self, before: str) -> bool:
        """When it runs."""
        del before
        return self.active()


class Postfix(Daemon):
    """Postfix reads all but the network parameters again on reload (postconf(5): inet_interfaces)."""

    def processes(self) -> tuple[str, ...]:
        """Before Debian 13 postfix.service is only a wrapper, `active (exited)`, around postfix@-.service."""
        return (self.unit, "postfix@-.service")

    def active(self) -> bool:
        """Whether a master process runs."""
        return "running" in run(["systemctl", "show", "-P", "SubState", *self.processes()]).out.split()

    def fingerprint(self) -> str:
        """Network parameters in the live main.cf; nothing while it does not run (a restart follows in any case)."""
        return run(["postconf", "-h", "inet_interfaces", "inet_protocols"]).out if self.active() else ""

    def reload_is_enough(self, before: str) -> bool:
        """When it runs and listens on the right addresses already."""
        return bool(before) and self.fingerprint() == before

    def deactivate(self) -> None:
        """Stops the process itself first: the wrapper does not wait for it, and it must not outlive its main.cf."""
        run(["systemctl", "stop", "postfix@-.service"])  # from Debian 13 on, there is none
        super().deactivate()


class Firewall(Service):
    """ufw: not a process but rules in the kernel, loaded again at boot by ufw.service."""

    def validate(self, candidate: validate.Candidate) -> None:
        """Adds the SSH connection this program was called through."""
        validate.firewall(candidate, ssh_connection())

    def active(self) -> bool:
        """Whether ufw's chains are in the kernel (ufw.service says active even when ufw was never enabled)."""
        return run(["iptables", "-n", "-L", "ufw-user-input"]).code == 0

    def activate(self, before: str) -> None:
        """Loads the rules; connections that exist go on."""
        del before
        must(["ufw", "reload"] if self.active() else ["ufw", "--force", "enable"])
        if run(["systemctl", "is-enabled", "--quiet", self.unit]).code != 0:
            must(["systemctl", "enable", "--quiet", self.unit])

    def deactivate(self) -> None:
        """Takes the rules out of the kernel; ufw not installed is fine."""
        if run(["ufw", "--version"]).code == 0:
            must(["ufw", "--force", "disable"])


def ssh_connection() -> list[tuple[str, int]]:
    """(server address, port) of the SSH connection we were called through; empty when there is none.

    sudo drops SSH_CONNECTION from the environment, so the parents' environments are looked at too.
    """
    environment = os.environ.get("SSH_CONNECTION", "")
    process = os.getppid()
    while not environment and process > 1:
        try:
            raw = Path(f"/proc/{process}/environ").read_bytes()
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            break
        found = [item for item in raw.split(b"\0") if item.startswith(b"SSH_CONNECTION=")]
        environment = found[0].partition(b"=")[2].decode() if found else ""
        process = int(status.rpartition(")")[2].split()[1])
    words = environment.split()
    return [(words[2], int(words[3]))] if len(words) == 4 and words[3].isdigit() else []  # noqa: PLR2004 -- sshd(8)


SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Service("accounts", check=validate.accounts),
        Timer("certificate", "certbot.timer"),
        Dovecot("dovecot", "dovecot.service", validate.dovecot),
        Firewall("firewall", "ufw.service"),
        Daemon("opendkim", "opendkim.service", validate.opendkim),
        Postfix("postfix", "postfix.service", validate.postfix),
    )
}
