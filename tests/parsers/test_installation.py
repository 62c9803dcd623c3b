"""An installation that is killed starts no daemon while apt goes on, and leaves nothing that forbids a start later.

The package is `at`: small, with a daemon, and none of the program's.
"""

from lab import machines
from lab.clients import wait_for
from tests.parsers.judge import Judge

POLICY = "/usr/sbin/policy-rc.d"
ALTERNATIVE = "/etc/alternatives/policy-rc.d"
APT_CONF = "/etc/apt/apt.conf.d/99-slow"
AT_WORK = "/run/apt-is-at-work"
# apt stops here after it has fetched and before it unpacks.
SLOW = f'DPkg::Pre-Invoke {{"touch {AT_WORK}; sleep 2"}};\n'
PREPARE = """
printf '#!/bin/sh\\nexit 0\\n' > "$1"
chmod 755 "$1"
ln -s "$1" "$2"
cat > "$3"
"""
START = (
    *("systemd-run", "--quiet", "--collect", "--unit=installation", "--property=KillMode=process"),
    *("--property=StandardInput=data", "--property=StandardInputText=at"),
)


def test_a_killed_installation_starts_nothing_and_forbids_nothing_afterwards(set_up: Judge) -> None:
    name = set_up.machine.name

    def run(*argv: str) -> str:
        return machines.run(name, argv, timeout=300)

    def active() -> str:
        return machines.execute(name, ["systemctl", "is-active", "atd.service"]).stdout.strip()

    run("apt-get", "--quiet", "update")
    try:
        machines.run(name, ["sh", "-c", PREPARE, "sh", ALTERNATIVE, POLICY, APT_CONF], content=SLOW)
        run(*START, "/usr/bin/python3", "-I", set_up.program, "packages")
        wait_for(lambda: machines.execute(name, ["test", "-e", AT_WORK]).returncode == 0 or None, "apt at work")
        run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "installation.service")
        busy = ["pgrep", "-x", "apt-get|dpkg"]
        assert machines.execute(name, busy).returncode == 0  # it goes on
        wait_for(lambda: machines.execute(name, busy).returncode == 1 or None, "the end of apt")
        assert active() != "active"
        assert run("readlink", POLICY).strip() == ALTERNATIVE

        run("rm", APT_CONF)
        run("sh", "-c", "dpkg --configure -a && apt-get --yes --quiet install --reinstall at")
        assert active() == "active"
        number = run("systemctl", "show", "-P", "InvocationID", "atd.service")
        run("apt-get", "--yes", "--quiet", "install", "--reinstall", "at")
        assert active() == "active"
        assert run("systemctl", "show", "-P", "InvocationID", "atd.service") != number  # restarted

        set_up.install(["at"])
        assert run("readlink", POLICY).strip() == ALTERNATIVE
    finally:
        machines.execute(name, ["rm", "-f", APT_CONF, AT_WORK, POLICY, ALTERNATIVE])
        machines.execute(name, ["apt-get", "--yes", "--quiet", "purge", "at"])
