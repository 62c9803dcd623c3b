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
from mailhostctl.paths import MAIN_CF, below
from mailhostctl.system import Completed, MailhostError, run

USERS = "/etc/dovecot/users"
_USER = re.compile(r"[^:\s]+@[^:\s]+:\{[A-Z0-9-]+\}[^:\s]+::::::(?:userdb_\w+=\S+(?: userdb_\w+=\S+)*)?")


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
    with durable.naming(folder):
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
    """`postfix check` (its warnings may be about other files), and `postconf`, whose warnings are about these.

    `postmap` reads each map that main.cf names in its own folder.
    """
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
    main = candidate.files.get(MAIN_CF)
    named = re.findall(r"texthash:\$config_directory/([\w.-]+)", main.read_text()) if main else []
    for name in dict.fromkeys(named):
        # A key that is not there: exit 1 and no word. Of a line that is none, Postfix would only warn, and lose it.
        asked = run(["postmap", "-c", folder, "-q", "mailhostctl-only-parses", f"texthash:{folder}/{name}"])
        candidate.accept(replace(asked, code=0), f"postmap {name}", silent=True)


def dovecot(candidate: Candidate) -> None:
    """`doveconf -n` reads the whole configuration, `sievec` compiles the host's filters with it.

    Dovecot 2.4 takes a variable as 2.3 wrote it (`%u`, `$mail_plugins`) for plain text, with which all users would
    share one mailbox.
    """
    main = candidate.files.get("/etc/dovecot/dovecot.conf")
    if main is None:
        return
    lines = main.read_text().splitlines()
    if any(line.startswith("dovecot_config_version") for line in lines):
        for number, line in enumerate(lines, start=1):
            old = re.search(r"%[A-Za-z]|\$[a-z]", line.partition("#")[0])
            if old:
                raise MailhostError(
                    f"/etc/dovecot/dovecot.conf line {number}: {old[0]} is a variable of Dovecot 2.3, and plain text "
                    "for 2.4; write %{user} and the like"
                )
    candidate.accept(run(["doveconf", "-c", str(main), "-n"]), "doveconf")
    for path, script in candidate.files.items():
        if path.endswith(".sieve"):
            candidate.accept(run(["sievec", "-c", str(main), str(script), f"{script}.compiled"]), f"sievec {path}")


def accounts(candidate: Candidate) -> None:
    """Each line of the users file is `user@domain:{SCHEME}hash::::::` and extra fields of userdb.

    The message tells the line's number, never its text.
    """
    users = candidate.files.get(USERS)
    if users is None:
        return
    for number, line in enumerate(users.read_text().splitlines(), start=1):
        if line and not line.startswith("#") and not _USER.fullmatch(line):
            raise MailhostError(
                f"{USERS} line {number}: must be user@domain:{{SCHEME}}hash::::::, then userdb_… fields or nothing"
            )


def nginx(candidate: Candidate) -> None:
    """`nginx -t` reads the configuration and the certificates it names."""
    main = candidate.files.get("/etc/nginx/nginx.conf")
    if main is not None:
        candidate.accept(run(["nginx", "-t", "-q", "-c", str(main)]), "nginx")


def units(candidate: Candidate) -> None:
    """`systemd-analyze verify` reads units; what it does not know it only warns of."""
    files = [str(place) for path, place in candidate.files.items() if re.fullmatch(r"/etc/systemd/system/[^/]+", path)]
    if files:
        candidate.accept(run(["systemd-analyze", "verify", "--man=no", *files]), "systemd-analyze", silent=True)


def metrics(candidate: Candidate) -> None:
    """The units, and rsyslog's rules, with `rsyslogd -N1` reading our file alone."""
    units(candidate)
    rules = candidate.files.get("/etc/rsyslog.d/00-mailhost.conf")
    if rules is not None:
        candidate.accept(run(["rsyslogd", "-N1", "-f", str(rules)]), "rsyslogd")
    rotation = candidate.files.get("/etc/logrotate.d/mailhost")
    if rotation is not None:
        # A line it does not understand, named with its number, it only leaves out.
        done = run(["logrotate", "--debug", str(rotation)])
        wrong = re.findall(rf"^\w+: ({re.escape(str(rotation))}:\d+ .*)$", done.err, re.MULTILINE)
        candidate.accept(replace(done, code=1 if wrong else done.code, err="\n".join(wrong) or done.err), "logrotate")


def opendkim(candidate: Candidate) -> None:
    """`opendkim -n` reads the configuration and the tables it names, and exits."""
    main = candidate.files.get("/etc/opendkim.conf")
    if main is not None:
        candidate.accept(run(["opendkim", "-n", "-x", str(main)]), "opendkim")


def antivirus(candidate: Candidate) -> None:
    """`clamconf` reads the file as clamd would; it complains on standard error and exits 0."""
    main = candidate.files.get("/etc/clamav/clamd.conf")
    if main is not None:
        candidate.accept(run(["clamconf", "-c", str(main.parent), "-n"]), "clamconf", silent=True)


def redis(candidate: Candidate) -> None:
    """Redis has no mode that only parses: after the file it gets a port that is none, and must stop at that one.

    It reads the file and its arguments as one text, top down, before it does anything else. An unknown directive
    is no mistake to Redis 8 while it reads: it does not start then, and the change is taken back.
    """
    main = candidate.files.get("/etc/redis/redis.conf")
    if main is None:
        return
    done = run(["redis-server", str(main), "--port", "mailhostctl-only-parses"], timeout=20)
    if "mailhostctl-only-parses" not in done.err:
        candidate.accept(replace(done, code=done.code or 1), "redis-server")


def resolver(candidate: Candidate) -> None:
    """`unbound-checkconf` reads the file by itself; the package's files beside it are the package's matter."""
    main = candidate.files.get("/etc/unbound/unbound.conf.d/mailhost.conf")
    if main is not None:
        candidate.accept(run(["unbound-checkconf", str(main)]), "unbound-checkconf")


def tls_policy(candidate: Candidate) -> None:
    """The units, and mta-sts-daemon's own reading of its file, which stops at YAML that is none."""
    units(candidate)
    main = candidate.files.get("/etc/mta-sts-daemon.yml")
    if main is not None:
        script = "import sys; from postfix_mta_sts_resolver.utils import load_config; load_config(sys.argv[1])"
        candidate.accept(run(["python3", "-c", script, str(main)]), "mta-sts-daemon")


def rspamd(candidate: Candidate) -> None:
    """`rspamadm configtest` reads the package's files, and the candidate's in the place of the live ones.

    Strictly (-s), because a module whose section is wrong would only stay off.
    """
    folder = candidate.folder / "etc/rspamd"
    if folder.is_dir():
        command = ["rspamadm", f"--var=LOCAL_CONFDIR={folder}", "configtest", "-s", "-c", "/etc/rspamd/rspamd.conf"]
        candidate.accept(run(command), "rspamadm configtest")


def fail2ban(candidate: Candidate) -> None:
    """`fail2ban-client -t` reads the jails, `fail2ban-regex` the filters, beside the package's own files.

    What the client takes for no number it warns of, and goes on with a default. A jail that cannot start, because of
    its backend, say, shows in the health probes only.
    """
    folder = candidate.folder / "etc/fail2ban"
    if not folder.is_dir():
        return
    for file in Path("/etc/fail2ban").rglob("*.conf"):
        place = below(candidate.folder, str(file))
        if file.is_file() and not place.exists():
            durable.make_folder(place.parent, 0o755)
            place.symlink_to(file)
    tested = candidate.accept(run(["fail2ban-client", "-c", str(folder), "-t"]), "fail2ban-client")
    if "Wrong value" in tested.err:
        candidate.accept(replace(tested, code=1), "fail2ban-client")
    for path in candidate.files:
        if path.startswith("/etc/fail2ban/filter.d/"):
            command = ["fail2ban-regex", "-c", str(folder), "mailhostctl only parses", Path(path).stem]
            candidate.accept(run(command), f"fail2ban-regex {path}")


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
