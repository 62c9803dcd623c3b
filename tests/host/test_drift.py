"""`mailhostctl drift` finds each way in which a host differs from its stack, and `reapply` mends what it can."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mailhostctl.manifest import digest
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
MAIN = "/etc/postfix/main.cf"
POSTFIX = {MAIN: "myhostname = old\n", "/etc/postfix/relays": "secret-word\n"}
RULES = {
    f"/etc/ufw/{name}": f"*filter\n:{prefix}-user-input - [0:0]\n-A {prefix}-user-input -p tcp --dport 22 -j ACCEPT\n"
    f"-A {prefix}-user-input -p tcp --dport 25 -j ACCEPT\nCOMMIT\n"
    for name, prefix in (("user.rules", "ufw"), ("user6.rules", "ufw6"))
}
POLICY = {"/etc/systemd/system/mailhost-tls-policy.socket": "[Socket]\n"}
Change = Callable[[Host], object]


@pytest.fixture
def applied(host: Host) -> Host:
    """A host with three services."""
    assert host.apply("postfix", POSTFIX) == 0
    assert host.apply("firewall", RULES) == 0
    assert host.apply("tls-policy", POLICY) == 0
    return host


def stack(host: Host, packages: Sequence[str] = (), **changes: str) -> str:
    """What a stack says that knows the host as it is, but for the changes; an empty digest leaves a service out."""
    digests = {}
    for name in ("postfix", "firewall", "tls-policy"):
        state = host.state(name)
        number = (state / "current").read_text().strip() if (state / "current").exists() else "0"
        if number != "0":
            digests[name] = digest((state / "generations" / number / "manifest.json").read_bytes())
    digests |= changes
    return json.dumps({"services": {key: value for key, value in digests.items() if value}, "packages": [*packages]})


def drift(host: Host, capsys: Capsys, said: str) -> list[dict[str, str]]:
    capsys.readouterr()
    assert host.run("drift", stdin=said) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(document["services"]) <= {"postfix", "firewall", "tls-policy"}
    return list(document["findings"])


def test_a_host_as_its_stack_says_has_no_drift(applied: Host, capsys: Capsys) -> None:
    applied.play("dpkg-query", "echo 'ii  postfix 3.10'\n")
    assert drift(applied, capsys, stack(applied, ["postfix"])) == []


def replaced(path: str, make: Callable[[Any], object]) -> Change:
    def change(host: Host) -> None:
        file = host.root / path.lstrip("/")
        file.unlink()
        make(file)

    return change


def kernel(change: Callable[[str], str], command: str = "iptables") -> Change:
    def changed(host: Host) -> None:
        file = host.fake / "kernel" / command
        file.write_text(change(file.read_text()))

    return changed


def without(*parts: str) -> Change:
    return lambda host: host.fake.joinpath(*parts).unlink()


PORT = "-A ufw-user-input -p tcp --dport 25 -j ACCEPT\n"
REAPPLIED: dict[str, tuple[Change, str, str, str, str]] = {
    "content": (lambda host: host.write(MAIN, "x\n"), "postfix", MAIN, "content as applied", "changed"),
    "mode": (lambda host: (host.root / MAIN[1:]).chmod(0o666), "postfix", MAIN, "mode 0644", "mode 0666"),
    "no file": (replaced(MAIN, lambda _: None), "postfix", MAIN, "a file", "nothing"),
    "a link": (replaced(MAIN, lambda file: file.symlink_to("/etc/x")), "postfix", MAIN, "a file", "a link to /etc/x"),
    "a unit that was disabled": (
        without("enabled", "postfix.service"),
        *("postfix", "postfix.service", "enabled", "not installed"),
    ),
    "a unit that stands": (
        without("active", "postfix.service"),
        *("postfix", "postfix.service", "active", "not running"),
    ),
    "a socket that was disabled": (
        without("enabled", "mailhost-tls-policy.socket"),
        *("tls-policy", "mailhost-tls-policy.socket", "enabled", "not installed"),
    ),
    "a socket that stands": (
        without("active", "mailhost-tls-policy.socket"),
        *("tls-policy", "mailhost-tls-policy.socket", "active", "not running"),
    ),
    "a flushed chain": (
        kernel(lambda text: "".join(line for line in text.splitlines(True) if "--dport" not in line)),
        *("firewall", "chain ufw-user-input in the kernel", "2 rules"),
        "0 rules, without -p tcp --dport 22 -j ACCEPT",
    ),
    "a chain that is gone": (
        kernel(lambda text: text.replace("-N ufw6-user-input\n", ""), "ip6tables"),
        *("firewall", "chain ufw6-user-input in the kernel", "2 rules", "missing"),
    ),
    "a rule more": (
        kernel(lambda text: f"{text}-A ufw-user-input -p tcp --dport 99 -j ACCEPT\n"),
        *("firewall", "chain ufw-user-input in the kernel", "2 rules", "3 rules, with -p tcp --dport 99 -j ACCEPT"),
    ),
    "rules in another order": (
        kernel(lambda text: text.replace(PORT, "").replace("-N ufw-user-input\n", f"-N ufw-user-input\n{PORT}")),
        *("firewall", "chain ufw-user-input in the kernel", "2 rules", "2 rules, in another order"),
    ),
    "an open policy": (
        kernel(lambda text: text.replace("INPUT DROP", "INPUT ACCEPT")),
        *("firewall", "iptables's rules", "-P INPUT DROP", "missing"),
    ),
    "a firewall that is off": (
        without("active", "ufw"),
        *("firewall", "ufw's rules in the kernel", "loaded", "none"),
    ),
}


@pytest.mark.parametrize("case", REAPPLIED)
def test_what_differs_from_the_applied_generation_is_named_and_reapplied(
    applied: Host, capsys: Capsys, case: str
) -> None:
    change, service, what, wanted, found = REAPPLIED[case]
    change(applied)
    (finding,) = drift(applied, capsys, stack(applied))
    assert finding == {"service": service, "what": what, "wanted": wanted, "found": found, "mend": "reapply"}
    assert applied.run("reapply", service) == 0
    assert drift(applied, capsys, stack(applied)) == []


def test_a_folder_in_the_place_of_a_file_is_named(applied: Host, capsys: Capsys) -> None:
    replaced(MAIN, lambda file: file.mkdir())(applied)
    (finding,) = drift(applied, capsys, stack(applied))
    assert (finding["what"], finding["found"]) == (MAIN, "a folder")


def test_no_content_is_shown(applied: Host, capsys: Capsys) -> None:
    applied.write("/etc/postfix/relays", "another-word\n")
    assert applied.run("drift", stdin=stack(applied)) == 0
    shown = "".join(capsys.readouterr())
    assert "/etc/postfix/relays" in shown
    assert "word" not in shown


def test_another_manifest_than_the_stacks_is_for_the_stack_to_mend(applied: Host, capsys: Capsys) -> None:
    before = stack(applied)
    assert applied.apply("postfix", {MAIN: "myhostname = new\n"}) == 0
    (finding,) = drift(applied, capsys, before)
    assert (finding["service"], finding["what"], finding["mend"]) == ("postfix", "generation", "apply")
    assert finding["wanted"].removeprefix("manifest ") in before
    assert finding["found"].startswith("generation 2, manifest ")


def test_a_service_that_is_not_applied_is_for_the_stack_to_apply(applied: Host, capsys: Capsys) -> None:
    (finding,) = drift(applied, capsys, stack(applied, opendkim="a" * 64))
    assert (finding["service"], finding["found"], finding["mend"]) == ("opendkim", "not applied", "apply")


def test_a_service_that_the_stack_does_not_know_is_for_the_operator(applied: Host, capsys: Capsys) -> None:
    (finding,) = drift(applied, capsys, stack(applied, postfix=""))
    assert (finding["service"], finding["wanted"], finding["mend"]) == ("postfix", "not applied", "remove")


def test_an_interrupted_change_is_undone_by_reapply(applied: Host, capsys: Capsys) -> None:
    applied.write(MAIN, "half of another generation\n")
    kept = applied.state("postfix", "generations")
    shutil.copytree(kept / "1", kept / "2")
    applied.state("postfix", "journal.json").write_text('{"from": 1, "to": 2}')
    (finding,) = drift(applied, capsys, stack(applied))
    assert (finding["what"], finding["found"], finding["mend"]) == ("change", "interrupted", "reapply")
    assert applied.run("reapply", "postfix") == 0
    assert applied.live(MAIN) == POSTFIX[MAIN]
    assert drift(applied, capsys, stack(applied)) == []


def test_a_damaged_copy_of_a_generation_is_named_and_the_stack_makes_another(applied: Host, capsys: Capsys) -> None:
    (applied.state("postfix", "generations/1/files") / MAIN[1:]).write_text("rotten")
    (finding,) = drift(applied, capsys, stack(applied))
    assert finding["what"] == MAIN
    assert f"its copy of {MAIN} is damaged" in finding["found"]
    assert finding["mend"] == "apply"
    assert applied.apply("postfix", POSTFIX) == 0
    assert drift(applied, capsys, stack(applied)) == []


def test_packages_that_are_missing_or_half_installed_are_named(applied: Host, capsys: Capsys) -> None:
    applied.play("dpkg-query", "echo 'ii  postfix 3.10'; echo 'iU  unbound 1.22'\n")
    applied.play("dpkg", 'echo "The following packages are only half configured"\n')
    found = drift(applied, capsys, stack(applied, ["postfix", "unbound"]))
    assert [(each["what"], each["found"]) for each in found] == [
        ("dpkg", "an installation was interrupted"),
        ("unbound", "not installed"),
    ]
    assert {(each["service"], each["mend"]) for each in found} == {("packages", "apply")}


def test_nothing_is_changed(applied: Host, capsys: Capsys) -> None:
    applied.write(MAIN, "by hand\n")
    before = sorted((path, path.lstat().st_mtime_ns) for path in applied.root.rglob("*"))
    applied.calls()
    assert drift(applied, capsys, stack(applied))
    assert sorted((path, path.lstat().st_mtime_ns) for path in applied.root.rglob("*")) == before
    changing = ("enable", "disable", "start", "stop", "restart", "reload", "daemon-reload")
    assert not [call for call in applied.calls("systemctl ") if call.split()[1] in changing]
    assert applied.calls("ufw") == []


@pytest.mark.parametrize(
    "said", ["", "[]", "{}", '{"services": [], "packages": []}', '{"services": {"a": 1}, "packages": []}']
)
def test_what_is_no_description_of_a_stack_is_refused(host: Host, capsys: Capsys, said: str) -> None:
    assert host.run("drift", stdin=said) == 1
    assert "drift: stdin must be" in capsys.readouterr().err


def test_a_service_that_is_not_applied_cannot_be_reapplied(host: Host, capsys: Capsys) -> None:
    assert host.run("reapply", "postfix") == 1
    assert "postfix: is not applied on this host" in capsys.readouterr().err


def test_reapply_leaves_alone_what_is_as_it_should_be(applied: Host) -> None:
    applied.calls()
    assert applied.run("reapply", "postfix") == 0
    assert not applied.calls("systemctl re")
