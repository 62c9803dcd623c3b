"""The doctor on a real host: all is well, and each thing that is broken on purpose is found by its name."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_address

import pytest

from lab import dns, outside
from lab.addresses import BLOCKLIST, OUTSIDE
from lab.clients import TIMEOUT_SECONDS, wait_for
from lab.dns import served
from tests.e2e.conftest import Host
from tests.e2e.doctor import changed, look, look_as_alice
from tests.e2e.stack import ROOT

LENT = "/run/mailhost-lent/passwords"


def test_without_an_account_the_host_lends_one_for_the_look(host: Host) -> None:
    seen = look(host, "--deadline", "60", timeout=TIMEOUT_SECONDS)
    assert seen.status == 0, seen.not_well()
    for check in ("account.login", "mail.round-trip", "mail.dkim", "mail.dmarc"):
        assert seen.states(check) == {"ok"}, check
    assert wait_for(lambda: host.run("stat", "-c", "%s %G %a", LENT).split() == ["0", "dovecot", "640"], "its end")
    stranger = host.run_fails("sh", "-c", f"echo none | mailhostctl lend nobody@{host.machine.domain}")
    assert "is no ARGON2ID hash (not shown)" in stranger


@contextmanager
def postfix(host: Host, *lines: str, services: Sequence[str] = ()) -> Iterator[None]:
    """Edit main.cf and master.cf by hand, and let Postfix read them."""
    for file in ("main.cf", "master.cf"):
        host.run("cp", "-p", f"/etc/postfix/{file}", f"/root/{file}.kept")
    host.run("postconf", "-e", *lines)
    if services:
        host.run("postconf", "-P", *services)
    restart_postfix(host)
    try:
        yield
    finally:
        for file in ("main.cf", "master.cf"):
            host.run("mv", f"/root/{file}.kept", f"/etc/postfix/{file}")
        restart_postfix(host)


def restart_postfix(host: Host) -> None:
    # More than five starts in ten seconds are too many for systemd (systemd.unit(5), StartLimitBurst=).
    host.run("systemctl", "reset-failed", "postfix*")
    host.run("systemctl", "restart", "postfix")


@contextmanager
def outgoing_mail(host: Host, *verdict: str) -> Iterator[None]:
    """Have connections to other mail servers dropped or refused."""
    rule = ["OUTPUT", "-p", "tcp", "--dport", "25", "-j", *verdict]
    for program in ("iptables", "ip6tables"):
        host.run(program, "-I", *rule)
    try:
        yield
    finally:
        for program in ("iptables", "ip6tables"):
            host.run(program, "-D", *rule)


@contextmanager
def configured(host: Host, **values: object) -> Iterator[None]:
    """Change settings without applying them."""
    with host.stack.kept():
        host.stack.configure(values)
        yield


def test_all_is_well_and_nothing_stays_behind(host: Host) -> None:
    counted = host.run("sh", "-c", f"find /var/vmail/{host.machine.domain}/alice -path '*/[nc]??/*' -type f | wc -l")
    seen = look_as_alice(host)
    assert seen.not_well() == {}
    assert seen.status == 0
    for check in (
        *("mail.round-trip", "mail.dkim", "mail.dmarc", "account.login"),
        *("host.services", "host.memory", "host.certificate"),
    ):
        assert seen.states(check) == {"ok"}, check
    assert counted == host.run(
        "sh", "-c", f"find /var/vmail/{host.machine.domain}/alice -path '*/[nc]??/*' -type f | wc -l"
    )


def test_preflight_finds_a_host_that_is_ready(host: Host) -> None:
    seen = look(host, "--preflight")
    assert seen.not_well() == {}
    assert seen.states("host.port25") == seen.states("zone.active") == seen.states("address.blocklist") == {"ok"}


def listing(host: Host, code: str) -> AbstractContextManager[None]:
    """Have the blocklist say this of the host's address."""
    label = ip_address(host.machine.ipv4).reverse_pointer.removesuffix(".in-addr.arpa")
    return served(OUTSIDE.domain, dns.record(f"{label}.{BLOCKLIST}", "A", [code]))


@pytest.mark.parametrize(("code", "check"), [("127.0.0.2", "address.blocklist"), ("127.0.0.10", "address.policy-list")])
def test_a_listing_is_found_from_outside_and_from_the_host(host: Host, code: str, check: str) -> None:
    with listing(host, code):
        assert set(look(host).not_well()) == {check}
        assert set(look(host, "--preflight").not_well()) == {check}


def test_a_blocklist_that_refuses_the_resolver_is_no_listing(host: Host) -> None:
    with listing(host, "127.255.255.254"):
        seen = look(host, "--no-ssh")
    assert seen.not_well() == {}
    assert "skipped" in seen.states("address.blocklist")


def test_a_key_changed_in_dns(host: Host) -> None:
    selectors = host.stack.outputs()["dkim"]["selectors"]
    (selector,) = [selector for selector, state in selectors.items() if state == "signs"]
    name = f"{selector}._domainkey.{host.machine.domain}"
    with changed(host, name, "TXT", content='"v=DKIM1; k=rsa; p=MIIB"'):
        seen = look_as_alice(host).not_well()
    assert set(seen) == {"dns.record", "dns.dkim", "mail.dkim", "mail.dmarc"}
    assert "cut off" in seen["dns.dkim"]


def test_a_tlsa_record_of_the_key_in_use(host: Host) -> None:
    file = f"/etc/letsencrypt/live/{host.machine.hostname}/cert.pem"
    script = f"openssl x509 -in {file} -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -c1-64"
    digest = host.run("sh", "-c", script).strip()
    with served(host.machine.domain, dns.record(f"_25._tcp.{host.machine.hostname}", "TLSA", [f"3 1 1 {digest}"])):
        seen = look(host)
    assert seen.not_well() == {}
    assert seen.states("dane.match") == {"ok"}


@pytest.mark.parametrize(("edit", "found"), [("s/testing/enforce/", "mode enforce"), ("d", "mode is missing")])
def test_an_mta_sts_policy_that_was_changed(host: Host, edit: str, found: str) -> None:
    file = "/var/www/mailhost/mta-sts.txt"
    host.run("cp", "-p", file, "/root/mta-sts.kept")
    host.run("sed", "-i", edit, file)
    try:
        seen = look(host).not_well()
    finally:
        host.run("mv", "/root/mta-sts.kept", file)
    assert set(seen) == {"mta-sts.policy", "host.services"}
    assert found in seen["mta-sts.policy"]


def test_postfix_stopped(host: Host) -> None:
    with host.stopped("postfix"):
        seen = look(host).not_well()
    assert {"port.open", "host.services"} <= set(seen)
    assert all(f"{port} " in seen["port.open"] for port in (25, 465, 587))
    assert "993" not in seen["port.open"]
    assert "postfix: " in seen["host.services"]


def test_the_signer_stopped(host: Host) -> None:
    with host.stopped("opendkim"):
        seen = look_as_alice(host).not_well()
    assert {"host.services", "mail.round-trip"} <= set(seen)
    assert "opendkim: " in seen["host.services"]


def test_a_wrong_password(host: Host) -> None:
    seen = look_as_alice(host, password="wrong").not_well()
    assert set(seen) == {"account.login", "mail.round-trip"}
    assert "wrong" not in seen["account.login"].replace("wrong password", "")


def test_an_open_relay_is_found_without_relaying(host: Host) -> None:
    anybody = "permit_mynetworks, reject_unauth_destination"
    restrictions = [f"smtpd_{stage}_restrictions={anybody}" for stage in ("relay", "recipient")]
    with postfix(host, "mynetworks=0.0.0.0/0", *restrictions):
        seen = look(host).not_well()
        assert host.run("postqueue", "-j") == ""
    assert set(seen) == {"smtp.relay", "host.services"}
    assert "changed by hand" in seen["host.services"]


def test_another_name_in_the_banner(host: Host) -> None:
    with postfix(host, "smtpd_banner=localhost ESMTP"):
        assert set(look(host).not_well()) == {"smtp.banner", "host.services"}


def test_logins_in_the_clear(host: Host) -> None:
    with postfix(host, "smtpd_tls_auth_only=no", services=["submission/inet/smtpd_tls_security_level=may"]):
        seen = look(host).not_well()
    assert set(seen) == {"tls.cleartext", "host.services"}
    assert "587" in seen["tls.cleartext"]


def test_an_outdated_tls(host: Host) -> None:
    old = (">=TLSv1", "ALL:@SECLEVEL=0")
    lines = [f"smtpd_tls_protocols={old[0]}", f"smtpd_tls_mandatory_protocols={old[0]}"]
    lines += [f"tls_{grade}_cipherlist={old[1]}" for grade in ("medium", "high")]
    with postfix(host, *lines):
        seen = look(host).not_well()
    assert set(seen) == {"tls.floor", "host.services"}
    assert "TLSv1.1" in seen["tls.floor"]


def test_a_certificate_of_nobodys(host: Host) -> None:
    made = "/root/doctor.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=localhost"]
    host.run(*request, "-addext", "subjectAltName=DNS:localhost", "-keyout", made, "-out", f"{made}.crt")
    host.run("sh", "-c", f"cat {made}.crt >> {made}")
    try:
        with postfix(host, f"smtpd_tls_chain_files={made}"):
            seen = look(host).not_well()
    finally:
        host.run("rm", made, f"{made}.crt")
    assert set(seen) == {"tls.chain", "tls.same", "tls.days", "host.certificate", "host.services"}
    assert "self-signed" in seen["tls.chain"]


def test_no_tls_for_other_servers(host: Host) -> None:
    with postfix(host, "smtpd_tls_security_level=none"):
        assert "25 smtp" in look(host).not_well()["tls.offered"]


_AGE = """
import json, pathlib, subprocess
(entry,) = map(json.loads, subprocess.check_output(["postqueue", "-j"], text=True).splitlines())
arrived = entry["arrival_time"]
file = next(pathlib.Path("/var/spool/postfix/deferred").glob("*/" + entry["queue_id"]))
with file.open("r+b") as opened:  # its name is its inode
    aged = opened.read().replace(b"%d" % arrived, b"%d" % (arrived - 7200))
    opened.seek(0)
    opened.write(aged)
"""
"""Make the one mail in the queue two hours older."""


def test_a_mail_that_waits_for_hours(host: Host) -> None:
    with outgoing_mail(host, "REJECT", "--reject-with", "tcp-reset"):
        host.run("sendmail", outside.CAROL, content="Subject: it waits\n\nfor hours\n")
        wait_for(lambda: "refused" in host.run("postqueue", "-j"), "a mail that has to wait")
    try:
        host.run("python3", "-c", _AGE)
        seen = look(host).not_well()
    finally:
        host.run("postsuper", "-d", "ALL", "deferred")
    assert set(seen) == {"host.queue"}
    assert "refused" in seen["host.queue"]


@pytest.mark.one_release("debian13")
def test_settings_that_were_not_applied(host: Host) -> None:
    with configured(host, dmarc={"policy": "reject"}):
        seen = look(host).not_well()
    assert set(seen) == {"stack.deployed", "dns.record"}


def test_a_service_that_is_off_but_answers(host: Host) -> None:
    with configured(host, services={"pop3": False}):
        seen = look(host).not_well()
    assert "110 pop3" in seen["port.closed"]


def test_preflight_finds_another_program_on_a_port(host: Host) -> None:
    with host.stopped("dovecot"):
        host.run("systemd-run", "--unit=doctor-stranger", "python3", "-m", "http.server", "110")
        try:
            host.run(
                "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do ss -ltn | grep -q :110 && exit; sleep 0.5; done; exit 1"
            )
            seen = look(host, "--preflight").not_well()
        finally:
            host.run("systemctl", "stop", "doctor-stranger")
    assert set(seen) == {"host.ports"}
    assert "port 110: python3" in seen["host.ports"]


def test_preflight_finds_port_25_blocked(host: Host) -> None:
    with outgoing_mail(host, "DROP"):
        seen = look(host, "--preflight", timeout=2).not_well()
    assert set(seen) == {"host.port25"}
    assert "blocks it" in seen["host.port25"]


def test_preflight_finds_another_release(host: Host) -> None:
    other = "debian12" if host.machine.release == "debian13" else "debian13"
    with configured(host, os=other):
        assert set(look(host, "--preflight").not_well()) == {"host.release"}


def test_preflight_finds_a_broken_python(host: Host) -> None:
    # What Debian's python3-minimal alone would lack.
    (json,) = host.run("sh", "-c", "ls -d /usr/lib/python3.*/json").split()
    host.run("mv", json, "/root/json.kept")
    try:
        seen = look(host, "--preflight").not_well()
    finally:
        host.run("mv", "/root/json.kept", json)
    assert set(seen) == {"host.python"}


def test_preflight_finds_too_little_memory(host: Host) -> None:
    host.run("sh", "-c", "sed -E 's/^(MemTotal|SwapTotal):.*/\\1: 300000 kB/' /proc/meminfo > /root/meminfo")
    host.run("mount", "--bind", "/root/meminfo", "/proc/meminfo")
    try:
        seen = look(host, "--preflight").not_well()
    finally:
        host.run("umount", "/proc/meminfo")
    assert set(seen) == {"host.memory"}


def test_preflight_finds_a_full_disk(host: Host) -> None:
    # What is written below /var meanwhile has a small disk.
    layers = "/run/doctor-small"
    host.run("mkdir", layers)
    host.run("mount", "-t", "tmpfs", "-o", "size=100M", "small", layers)
    host.run("mkdir", f"{layers}/upper", f"{layers}/work")
    options = f"lowerdir=/var,upperdir={layers}/upper,workdir={layers}/work"
    host.run("mount", "-t", "overlay", "-o", options, "small", "/var")
    try:
        seen = look(host, "--preflight").not_well()
    finally:
        host.run("umount", "--lazy", "/var", layers)
        host.run("rmdir", layers)
    assert set(seen) == {"host.disk"}


def test_preflight_finds_a_wrong_clock(host: Host) -> None:
    # A container has its host's clock: whoever logs in meanwhile is told another time.
    host.run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "libfaketime")
    (library,) = host.run("sh", "-c", "dpkg -L libfaketime | grep '/libfaketime.so.1$'").split()
    host.run("cp", "/etc/environment", "/root/environment.kept")
    host.run("tee", "--append", "/etc/environment", content=f"LD_PRELOAD={library}\nFAKETIME=+10m\n")
    try:
        seen = look(host, "--preflight").not_well()
    finally:
        host.run("mv", "/root/environment.kept", "/etc/environment")
        host.run("apt-get", "purge", "--yes", "--quiet", "libfaketime")
    assert set(seen) == {"host.clock"}
    assert "+6" in seen["host.clock"]


@pytest.mark.one_release("debian13")
def test_preflight_finds_another_host_key(host: Host) -> None:
    with configured(host, hostKey="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJgtZCKxUMcfgYW0JwKjPLhHqSmRoH2yyBPvmXQtUMLT"):
        seen = look(host, "--preflight").not_well()
    assert set(seen) == {"host.ssh"}
    assert "shows the host key" in seen["host.ssh"]


@pytest.mark.one_release("debian13")
def test_preflight_finds_a_token_that_is_refused(host: Host) -> None:
    with host.stack.kept():
        host.stack.set_secret("cloudflare:apiToken", "x" * 40)
        seen = look(host, "--preflight").not_well()
    assert set(seen) == {"zone.active"}
    assert "x" * 40 not in seen["zone.active"]


@pytest.mark.one_release("debian13")
def test_the_table_for_people_has_no_colours_in_a_file(host: Host) -> None:
    command = [sys.executable, "-m", "doctor", "--stack", host.stack.name, "--cwd", str(host.stack.folder), "--no-ssh"]
    done = subprocess.run(
        command, cwd=ROOT, env=host.stack.environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert "What the world sees" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.one_release("debian13")
def test_a_stack_that_does_not_exist_is_one_line(host: Host) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "doctor", "--stack", "nope", "--cwd", str(host.stack.folder)],
        cwd=ROOT,
        env=host.stack.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert "nope" in done.stderr
