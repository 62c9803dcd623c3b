"""An installation that is killed starts no daemon while apt goes on, and leaves nothing that forbids a start later.

The package is `at`: small, with a daemon, and none of the program's.
"""

from lab import machines
from lab.clients import wait_for
from tests.parsers.judge import Judge

POLICY = "/usr/sbin/policy-rc.d"
ALTERNATIVE = "/etc/alternatives/policy-rc.d"
APT_CONF = "/etc/apt/apt.conf.d/99-slow"
NAMES = "/run/names"
AT_WORK = "/run/apt-is-at-work"
# apt stops here after it has fetched and before it unpacks.
SLOW = f'DPkg::Pre-Invoke {{"touch {AT_WORK}; sleep 2"}};\n'
PREPARE = """
printf '#!/bin/sh\\nexit 0\\n' > "$1"
chmod 755 "$1"
ln -s "$1" "$2"
cat > "$3"
echo at > "$4"
"""
START = (
    *("systemd-run", "--quiet", "--collect", "--unit=installation", "--property=KillMode=process"),
    f"--property=StandardInput=file:{NAMES}",
)


def test_a_killed_installation_starts_nothing_and_forbids_nothing_afterwards(set_up: Judge) -> None:
    name = set_up.machine.name

    def run(*argv: str) -> str:
        return machines.run(name, argv, timeout=300)

    def active() -> str:
        return machines.execute(name, ["systemctl", "is-active", "atd.service"]).stdout.strip()

    run("apt-get", "--quiet", "update")
    try:
        machines.run(name, ["sh", "-c", PREPARE, "sh", ALTERNATIVE, POLICY, APT_CONF, NAMES], content=SLOW)
        run(*START, "/usr/bin/python3", "-I", set_up.program, "packages")
        wait_for(lambda: machines.execute(name, ["test", "-e", AT_WORK]).returncode == 0 or None, "apt at work")
        run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "installation.service")
        busy = ["pgrep", "-x", "apt-get|dpkg"]
        assert machines.execute(name, busy).returncode == 0  # it goes on
        wait_for(lambda: machines.execute(name, busy).returncode == 1 or None, "the end of apt")
        run("rm", APT_CONF)
        # dpkg has died of the pipe that nobody reads any more: it is for the next installation to finish.
        set_up.install(["at"])
        assert run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "at").strip() == "ii"
        assert run("dpkg", "--audit") == ""
        assert active() != "active"
        assert run("readlink", POLICY).strip() == ALTERNATIVE

        started = set()
        for _ in range(2):
            run("apt-get", "--yes", "--quiet", "install", "--reinstall", "at")
            assert active() == "active"
            started.add(run("systemctl", "show", "-P", "InvocationID", "atd.service"))
        assert len(started) == 2  # it was restarted
    finally:
        machines.execute(name, ["rm", "-f", APT_CONF, NAMES, AT_WORK, POLICY, ALTERNATIVE])
        machines.execute(name, ["apt-get", "--yes", "--quiet", "purge", "at"])
