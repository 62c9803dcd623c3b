"""Units of our own, which come and go with the program: recovery before the daemons start, and a daily clean-up."""

from __future__ import annotations

from mailhostctl import durable
from mailhostctl.paths import PROGRAM, STATE, Root
from mailhostctl.services import SERVICES
from mailhostctl.system import must, run

FOLDER = "/etc/systemd/system"
RECOVER = "mailhost-recover.service"
_EXPIRE = "mailhost-expire.service"
_DAILY = "mailhost-expire.timer"
_RESTARTED = ("mailhost-tls-policy.service",)
"""What runs this program for longer than a request."""


def provide(root: Root, *, changed: bool) -> None:
    """Installs and enables them. `changed`: the program is another one, and what still runs the former is restarted."""
    texts = _texts()
    folder = root.live(FOLDER)
    if any(durable.read(folder / name) != text.encode() for name, text in texts.items()):
        durable.make_folder(folder, 0o755)
        for name, text in texts.items():
            durable.write(folder / name, text.encode(), mode=0o644)
        must(["systemctl", "daemon-reload"])
    for unit in (RECOVER, _DAILY):
        if run(["systemctl", "is-enabled", "--quiet", unit]).code != 0:
            must(["systemctl", "enable", "--quiet", unit], env={"SYSTEMCTL_SKIP_SYSV": "1"})
    must(["systemctl", "start", _DAILY])
    if changed:
        for unit in _RESTARTED:
            run(["systemctl", "try-restart", unit])  # there is none where it is off


def forget(root: Root) -> None:
    """Takes them away again."""
    folder = root.live(FOLDER)
    if not any((folder / name).exists() for name in _texts()):
        return
    for unit in (RECOVER, _DAILY):
        run(["systemctl", "disable", "--quiet", "--now", unit], env={"SYSTEMCTL_SKIP_SYSV": "1"})
    for name in _texts():
        durable.remove(folder / name)
    must(["systemctl", "daemon-reload"])


def _texts() -> dict[str, str]:
    waiting = sorted({unit for service in SERVICES.values() for unit in service.ordered()})
    return {RECOVER: _RECOVER_TEXT.format(waiting=" ".join(waiting)), _EXPIRE: _EXPIRE_TEXT, _DAILY: _DAILY_TEXT}


# Early, because ufw starts before the network. Not after dbus: systemctl talks to systemd itself.
_RECOVER_TEXT = f"""\
# Written by mailhostctl install.
[Unit]
Description=Finish or undo changes of the mail host that were cut off
Documentation=https://www.freedesktop.org/software/systemd/man/systemd.unit.html
DefaultDependencies=no
Conflicts=shutdown.target
RequiresMountsFor={STATE} {PROGRAM}
After=local-fs.target systemd-journald.socket systemd-sysusers.service systemd-tmpfiles-setup.service
Before=shutdown.target {{waiting}}
ConditionPathExistsGlob={STATE}/*/journal.json

[Service]
Type=oneshot
ExecStart={PROGRAM} recover --boot
# The daemons start all the same, with the files as they are.
TimeoutStartSec=120

[Install]
WantedBy=multi-user.target
"""
_EXPIRE_TEXT = f"""\
# Written by mailhostctl install.
[Unit]
Description=Drop generations of the mail host that are too old

[Service]
Type=oneshot
ExecStart={PROGRAM} expire
Nice=10
"""
_DAILY_TEXT = """\
# Written by mailhostctl install.
[Unit]
Description=Drop generations of the mail host that are too old, daily

[Timer]
OnCalendar=daily
RandomizedDelaySec=1h
Persistent=yes

[Install]
WantedBy=timers.target
"""
