"""The services: for each, its validator and how it is told of new files. No unit but its own is ever touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mailhostctl import containment, deployers, durable, kernel, validate
from mailhostctl.difference import Difference
from mailhostctl.paths import Root
from mailhostctl.system import MailhostError, is_active, must, run


@dataclass(frozen=True)
class Unit:
    """A systemd unit, and how it is while its service is applied."""

    name: str
    enabled: bool = True
    active: bool = True


@dataclass(frozen=True)
class Service:
    """Files that are validated, swapped and reloaded together; this plain kind has no daemon to tell."""

    name: str
    unit: str = ""
    check: Callable[[validate.Candidate], None] = lambda _candidate: None
    root: Root = field(default_factory=lambda: Root(base=Path("/")))
    """Where its live files are."""
    shared: ClassVar[tuple[str, ...]] = ()
    """Units it starts that others may have used before us."""

    def validate(self, candidate: validate.Candidate) -> None:
        """Raises `MailhostError` in the daemon's own words when it would refuse the candidate."""
        self.check(candidate)

    def units(self) -> tuple[Unit, ...]:
        """Its systemd units, as the live files have it."""
        return ()

    def stopped(self) -> list[str]:
        """Its units that are not active and should be."""
        return [unit.name for unit in self.units() if unit.active and not is_active(unit.name)]

    def active(self) -> bool:
        """Whether the service does its work now."""
        return not self.stopped()

    def differences(self) -> Iterator[Difference]:
        """What is not as `activate` leaves it."""
        for name in self.stopped():
            found = run(["systemctl", "is-active", name]).out.strip()
            yield Difference(what=name, wanted="active", found=found if found not in {"", "active"} else "not running")
        for unit in self.units():
            if unit.enabled and not _is_enabled(unit.name):
                found = run(["systemctl", "is-enabled", unit.name]).out.strip()
                yield Difference(what=unit.name, wanted="enabled", found=found or "not installed")

    def fingerprint(self) -> str:
        """What of the live configuration only a restart brings into effect."""
        return ""

    def activate(self, before: str) -> None:
        """Brings the live files into effect, also after a reboot; `before` is the fingerprint of the former ones."""

    def deactivate(self, running: Sequence[str] | None) -> None:
        """Stops the service, also after a reboot. Repeating it is fine.

        `running`: which of the `shared` units ran before us; None: unknown.
        """

    def release(self, running: Sequence[str] | None) -> None:
        """Lets the shared units that ran before us take the files of then."""
        if running:
            must(["systemctl", "restart", *running])

    def enabled(self) -> tuple[str, ...]:
        """The units to be enabled."""
        return tuple(unit.name for unit in self.units() if unit.enabled)

    def processes(self) -> tuple[str, ...]:
        """The units in which its processes may run."""
        return ()

    def ordered(self) -> tuple[str, ...]:
        """All units that read its files or may start it: they wait at boot until the files are right."""
        return ()

    def withhold(self, running: Sequence[str] | None) -> None:
        """At boot: lets none of it start but what ran before us. Waits for nothing, because the units wait for us."""

    def admit(self) -> None:
        """At boot: lets it start."""


class Accounts(Service):
    """Dovecot reads the users file anew by itself; what a disabled mailbox has left behind must be ended."""

    def fingerprint(self) -> str:
        """The users file as it is: who could log in."""
        users = self.root.live(validate.USERS)
        return users.read_text(errors="replace") if users.is_file() else ""

    def activate(self, before: str) -> None:
        """Ends sessions and deletes queued mail of mailboxes that are shut now."""
        unfinished = containment.follow(before, self.fingerprint(), self._unfinished())
        if unfinished:
            durable.write(self._note(), "".join(f"{address}\n" for address in unfinished).encode())
        else:
            durable.remove(self._note())

    def differences(self) -> Iterator[Difference]:
        """Adds what a mailbox that was shut may still have."""
        yield from super().differences()
        for address in self._unfinished():
            yield Difference(what=address, wanted="no session, no queued mail", found="not all of it could be ended")

    def _unfinished(self) -> list[str]:
        return (durable.read(self._note()) or b"").decode().split()

    def _note(self) -> Path:
        """Addresses, one a line."""
        return self.root.service(self.name).folder / "unfinished"


class Daemon(Service):
    """A systemd unit that must be restarted to see new files."""

    def units(self) -> tuple[Unit, ...]:
        """The one it is named after."""
        return (Unit(self.unit),)

    def activate(self, before: str) -> None:
        """Enables the unit, and reloads where that is enough, else restarts."""
        # First, because enabling makes a unit's aliases: systemd loses the process of a unit that gets one as it runs.
        _enable(*self.enabled())
        started = int(time.time())
        verb = "reload" if self.reload_is_enough(before) else "restart"
        if verb == "restart":
            # A unit that has just failed some times may not be started again (StartLimitBurst=), and the way back is
            # a start too.
            run(["systemctl", "reset-failed", *self.processes()])
        done = run(["systemctl", verb, self.unit])
        if done.code != 0:
            raise MailhostError(f"systemctl {verb} {self.unit}: {done.said}\n{self.journal(started)}".rstrip())

    def ordered(self) -> tuple[str, ...]:
        """Its unit, and what its processes run in."""
        return tuple(dict.fromkeys((*self.enabled(), *self.processes())))

    def withhold(self, running: Sequence[str] | None) -> None:
        """Disables the units, and takes back the starts that systemd has planned."""
        ours = [unit for unit in self.enabled() if unit not in (running or ())]
        for unit in ours:
            if run(["systemctl", "cat", unit]).code == 0:
                must(["systemctl", "disable", "--quiet", unit], env=_NATIVE)
        run(["systemctl", "stop", "--no-block", *dict.fromkeys((*ours, *self.processes()))])

    def admit(self) -> None:
        """Enables the units, and plans their start."""
        _enable(*self.enabled())
        must(["systemctl", "start", "--no-block", *self.enabled()])

    def processes(self) -> tuple[str, ...]:
        """The units in which its processes may run."""
        return (self.unit,)

    def reload_is_enough(self, before: str) -> bool:
        """Whether the daemon can take the live files without a restart."""
        del before
        return False

    def deactivate(self, running: Sequence[str] | None) -> None:
        """Stops and disables the unit; a unit that does not exist is fine."""
        del running
        _disable(self.unit)

    def journal(self, since: int) -> str:
        """The daemon's own last words since a Unix time: warnings and errors, or all when it uses no such levels."""
        name = self.unit.rpartition(".")[0]  # of a timer too, whose service has the words
        command = ["journalctl", "--no-pager", "-o", "cat", "-n", "12", f"--since=@{since}", "-u", f"{name}*"]
        for level in (["-p", "warning"], []):
            done = run([*command, *level], timeout=10)
            if done.code == 0 and done.out.strip() not in {"", "-- No entries --"}:
                return "\n".join(dict.fromkeys(done.out.strip().splitlines()))
        return ""


_NATIVE = {"SYSTEMCTL_SKIP_SYSV": "1"}
"""All have native units; for the System V scripts beside them systemd is reloaded twice more (its ENVIRONMENT.md)."""


def _is_enabled(unit: str) -> bool:
    return run(["systemctl", "is-enabled", "--quiet", unit]).code == 0


def _enable(*units: str) -> None:
    disabled = [unit for unit in units if not _is_enabled(unit)]
    if disabled:
        must(["systemctl", "enable", "--quiet", *disabled], env=_NATIVE)


def _disable(*units: str) -> None:
    """Stops them too; units that do not exist are fine."""
    if run(["systemctl", "cat", *units]).code == 0:
        must(["systemctl", "disable", "--quiet", "--now", *units], env=_NATIVE)
        # One that had to be killed would stay in the list of failed units.
        run(["systemctl", "reset-failed", *units])


class Timer(Daemon):
    """A timer reads no files of ours: it has to run, that is all."""

    def activate(self, before: str) -> None:
        """Enables and starts it."""
        del before
        _enable(self.unit)
        if not self.active():
            must(["systemctl", "start", self.unit])


class Reloading(Daemon):
    """A daemon that reads all of its configuration again on reload.

    nginx takes the certificates anew too, fail2ban keeps its bans, which a stop lifts.
    """

    def reload_is_enough(self, before: str) -> bool:
        """When it runs."""
        del before
        return is_active(self.unit)


class Dovecot(Reloading):
    """Dovecot reads all of its configuration again on reload. Beside it: compiled filters, and a watcher of users'."""

    scripts = Path("/etc/dovecot/sieve")
    filters = ("junk", "learn-ham", "learn-spam")  # others there are not ours
    watcher = "mailhost-filter-errors.path"
    plugins = Path("/usr/lib/dovecot")

    def units(self) -> tuple[Unit, ...]:
        """The watcher comes and goes with Dovecot, so it is not enabled."""
        watcher = (Unit(self.watcher, enabled=False),) if self._watches() else ()
        return (*super().units(), *watcher)

    def _watches(self) -> bool:
        return self.root.live(f"/etc/systemd/system/{self.watcher}").is_file()

    def reload_is_enough(self, before: str) -> bool:
        """When it runs, and no plugin came since it started: it refuses the settings of one it does not know."""
        return super().reload_is_enough(before) and not self._has_new_plugins()

    def _has_new_plugins(self) -> bool:
        started = run(["systemctl", "show", "--timestamp=unix", "-P", "ExecMainStartTimestamp", self.unit]).out
        seconds = started.strip().removeprefix("@")
        folders = [self.plugins, *(path for path in self.plugins.rglob("*") if path.is_dir())]
        # What dpkg unpacks keeps the age it had in the package; the folder's own is the host's.
        changed = max((path.stat().st_ctime for path in folders if path.exists()), default=0.0)
        return seconds.isdigit() and changed > int(seconds)

    def activate(self, before: str) -> None:
        """Compiles the host's filters first: users' processes, which run them, could not keep the result there."""
        for script in (self.scripts / f"{name}.sieve" for name in self.filters):
            if script.exists():
                # Without -c it would ask the running daemon, which still has the former configuration.
                must(["sievec", "-c", "/etc/dovecot/dovecot.conf", str(script)])
            else:
                script.with_suffix(".svbin").unlink(missing_ok=True)
        super().activate(before)
        # A reload starts nothing, and where the watcher's file is gone nothing would stop it.
        verb = "start" if self._watches() else "stop"
        done = run(["systemctl", verb, self.watcher])
        if verb == "start" and done.code != 0:
            raise MailhostError(f"systemctl start {self.watcher}: {done.said}")

    def ordered(self) -> tuple[str, ...]:
        """The watcher too."""
        return (*super().ordered(), self.watcher)

    def deactivate(self, running: Sequence[str] | None) -> None:
        """Takes what was compiled away too."""
        super().deactivate(running)
        for name in self.filters:
            (self.scripts / f"{name}.svbin").unlink(missing_ok=True)


class Postfix(Daemon):
    """Postfix reads all but the network parameters again on reload (postconf(5): inet_interfaces)."""

    def processes(self) -> tuple[str, ...]:
        """Before Debian 13 postfix.service is only a wrapper, `active (exited)`, around postfix@-.service."""
        return (self.unit, "postfix@-.service")

    def stopped(self) -> list[str]:
        """Its unit where no master process runs."""
        states = run(["systemctl", "show", "-P", "SubState", *self.processes()]).out.split()
        return [] if "running" in states else [self.unit]

    def fingerprint(self) -> str:
        """Network parameters in the live main.cf, the unit's drop-in and the resolver it names.

        Nothing while it does not run: a restart follows in any case.
        """
        if not self.active():
            return ""
        drop_ins = (f"/etc/systemd/system/{unit}.d/mailhost.conf" for unit in self.processes())
        files = [self.root.live(path) for path in (*drop_ins, "/etc/postfix/resolv.conf")]
        texts = [file.read_text() for file in files if file.is_file()]
        return run(["postconf", "-h", "inet_interfaces", "inet_protocols"]).out + "".join(texts)

    def reload_is_enough(self, before: str) -> bool:
        """When it runs and listens on the right addresses already."""
        return bool(before) and self.fingerprint() == before

    def deactivate(self, running: Sequence[str] | None) -> None:
        """Stops the process itself first: the wrapper does not wait for it, and it must not outlive its main.cf."""
        run(["systemctl", "stop", "postfix@-.service"])  # from Debian 13 on, there is none
        super().deactivate(running)


class Antivirus(Daemon):
    """freshclam and clamd, which systemd starts only once there are signatures (ConditionPathExistsGlob=)."""

    shared = ("clamav-daemon.socket", "clamav-daemon.service")

    def units(self) -> tuple[Unit, ...]:
        """Without signatures clamd is enabled only."""
        return (*super().units(), *(Unit(name, active=False) for name in self.shared))

    def activate(self, before: str) -> None:
        """Restarts clamd too: it is the one that reads the file."""
        super().activate(before)
        must(["systemctl", "restart", *self.shared])

    def deactivate(self, running: Sequence[str] | None) -> None:
        """Stops both, but for a clamd that was used before us."""
        super().deactivate(running)
        scanner = [unit for unit in self.shared if unit not in (running or ())]
        if scanner:
            _disable(*scanner)


class TlsPolicy(Daemon):
    """mta-sts-daemon and, where DANE is on, the socket through which Postfix asks it."""

    socket = "mailhost-tls-policy.socket"
    answering = "mailhost-tls-policy.service"

    def units(self) -> tuple[Unit, ...]:
        """The socket where there is one."""
        return (*super().units(), *((Unit(self.socket),) if self._weighs() else ()))

    def _weighs(self) -> bool:
        return self.root.live(f"/etc/systemd/system/{self.socket}").is_file()

    def ordered(self) -> tuple[str, ...]:
        """The socket, and what answers on it."""
        return (self.unit, self.socket, self.answering)

    def activate(self, before: str) -> None:
        """Starts the socket; what answers on it starts when Postfix asks, with the program as it is then."""
        super().activate(before)
        if self._weighs():
            must(["systemctl", "stop", self.answering])
            must(["systemctl", "restart", self.socket])
        else:
            run(["systemctl", "stop", self.socket, self.answering])
            # The unit's file is gone, and without it systemctl finds nothing to disable.
            durable.remove(self.root.live(f"/etc/systemd/system/sockets.target.wants/{self.socket}"))

    def deactivate(self, running: Sequence[str] | None) -> None:
        """Stops all of it."""
        super().deactivate(running)
        _disable(self.socket)
        run(["systemctl", "stop", self.answering])


class Metrics(Daemon):
    """The Postfix exporter, the rsyslog it reads, and the socket of our own page."""

    page = "mailhost-metrics.socket"
    shared = ("rsyslog.service",)
    log = ("syslog.socket", "rsyslog.service")
    rule = "/etc/rsyslog.d/00-mailhost.conf"

    def units(self) -> tuple[Unit, ...]:
        """All three."""
        return (*super().units(), Unit(self.page), Unit("rsyslog.service"))

    def activate(self, before: str) -> None:
        """Starts rsyslog with its new rule; at first the journal, which has to be told that there is one."""
        if not self.active():
            must(["systemctl", "try-restart", "systemd-journald.service"])
        _enable(*self.enabled())
        must(["systemctl", "restart", "rsyslog.service"])
        super().activate(before)
        # A request of this moment may still hold the address.
        if run(["systemctl", "restart", self.page]).code:
            time.sleep(1)
            must(["systemctl", "restart", self.page])

    def deactivate(self, running: Sequence[str] | None) -> None:
        """Stops rsyslog too where it only ran for the exporter: our rule lets it write nothing else."""
        super().deactivate(running)
        rule = self.root.live(self.rule)
        only = rule.is_file() and rule.read_text().endswith("*.* stop\n")
        units = (self.page, *(self.log if only and not running else ()))
        for unit in units:
            _disable(unit)


class Firewall(Service):
    """ufw: not a process but rules in the kernel, loaded again at boot by ufw.service."""

    def units(self) -> tuple[Unit, ...]:
        """The unit says active even when ufw was never enabled."""
        return (Unit(self.unit, active=False),)

    def differences(self) -> Iterator[Difference]:
        """Adds what the kernel has to what the rules files say."""
        yield from super().differences()
        if self.active():
            yield from kernel.differences(self.root)
        else:
            yield Difference(what="ufw's rules in the kernel", wanted="loaded", found="none")

    def validate(self, candidate: validate.Candidate) -> None:
        """Adds the SSH connection this program was called through."""
        validate.firewall(candidate, ssh_connection())

    def active(self) -> bool:
        """Whether ufw's chains are in the kernel."""
        return run(["iptables", "-n", "-L", "ufw-user-input"]).code == 0

    def activate(self, before: str) -> None:
        """Loads the rules; connections that exist go on."""
        del before
        must(["ufw", "reload"] if self.active() else ["ufw", "--force", "enable"])
        _enable(self.unit)

    def ordered(self) -> tuple[str, ...]:
        """What loads the rules at boot, as ufw.conf tells it."""
        return (self.unit,)

    def admit(self) -> None:
        """Enables what loads the rules."""
        _enable(self.unit)

    def deactivate(self, running: Sequence[str] | None) -> None:
        """Takes the rules out of the kernel; ufw not installed is fine."""
        del running
        if run(["ufw", "--version"]).code == 0:
            must(["ufw", "--force", "disable"])


def ssh_connection() -> list[tuple[str, int]]:
    """(server address, port) of the SSH connection we were called through; empty when there is none."""
    words = deployers.ssh_client_and_server()
    return [(words[2], int(words[3]))] if words else []


SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Accounts("accounts", check=validate.accounts),
        Antivirus("antivirus", "clamav-freshclam.service", validate.antivirus),
        Timer("certificate", "certbot.timer"),
        Daemon("digest", "mailhost-digest.timer", validate.units),
        Dovecot("dovecot", "dovecot.service", validate.dovecot),
        Reloading("fail2ban", "fail2ban.service", validate.fail2ban),
        Firewall("firewall", "ufw.service"),
        Metrics("metrics", "prometheus-postfix-exporter.service", validate.metrics),
        Reloading("nginx", "nginx.service", validate.nginx),
        Daemon("opendkim", "opendkim.service", validate.opendkim),
        Postfix("postfix", "postfix.service", validate.postfix),
        Daemon("redis", "redis-server.service", validate.redis),
        Daemon("resolver", "unbound.service", validate.resolver),
        Daemon("rspamd", "rspamd.service", validate.rspamd),
        TlsPolicy("tls-policy", "postfix-mta-sts-resolver.service", validate.tls_policy),
    )
}
