"""The end: no record, no service, no key; the mail and the certificates stay, and a new `up` finds them."""

from lab import cloudflare, outside
from lab.clients import compose, imap_arrival, imap_message
from lab.demo import account, checks
from tests.e2e.conftest import Host


def test_destroy_leaves_the_mail_and_nothing_else_and_up_again_finds_it(host: Host) -> None:
    alice, about = account(host.machine, "alice"), "kept through destroy"
    outside.send(compose(outside.CAROL, alice.address, about))
    imap_arrival(alice, about)

    host.stack.pulumi("destroy", "--yes", "--skip-preview", stack=True).must_pass()

    assert cloudflare.records(host.machine.domain) == []
    listening = host.run("ss", "-Hltn")
    for port in (25, 587, 465, 143, 993, 110, 995, 4190, 80, 443):
        assert f":{port} " not in listening
    for unit in ("postfix", "postfix-mta-sts-resolver", "dovecot", "opendkim", "nginx"):
        assert host.run("systemctl", "show", "-P", "ActiveState", unit).strip() == "inactive"
        assert host.run("systemctl", "show", "-P", "UnitFileState", unit).strip() == "disabled"
    assert "inactive" in host.run("ufw", "status")
    left = host.run(
        "sh",
        "-c",
        "ls -d /etc/dkimkeys/*.private /etc/dovecot/users /var/lib/mailhost /usr/local/sbin/mailhostctl 2>&1 || true",
    )
    assert left.count("No such file") == 4
    assert host.run("grep", "-rl", about, "/var/vmail").strip()
    assert f"mail.{host.machine.domain}" in host.run("ls", "/etc/letsencrypt/live").split()

    host.stack.up().must_pass()
    assert imap_message(alice, about) is not None
    assert [finding for finding in checks(host.machine) if not finding.passed] == []
