"""The first `up`: causes before effects, on a real machine."""

import dns.resolver

from lab import addresses
from tests.e2e.conftest import Host


def test_packages_are_installed_while_dns_is_late(host: Host) -> None:
    assert set(host.held.packages.split()) == {"postfix", "certbot"}


def test_no_certificate_is_asked_for_before_the_name_resolves(host: Host) -> None:
    assert host.held.lineages == ""


def test_nothing_is_signed_before_the_key_is_visible(host: Host) -> None:
    assert host.held.signer.strip() == "inactive"


def test_nobody_is_invited_before_the_house_is_open(host: Host) -> None:
    assert host.held.exchangers == []
    assert ":22 " in host.held.listening
    assert ":25 " not in host.held.listening


def test_every_service_runs_in_the_end(host: Host) -> None:
    units = ("postfix", "dovecot", "opendkim", "nginx", "certbot.timer")
    assert host.run("systemctl", "is-active", *units).split() == ["active"] * len(units)
    assert host.run("systemctl", "is-enabled", *units, "ufw").split() == ["enabled"] * (len(units) + 1)
    assert host.run("systemctl", "--failed", "--plain", "--no-legend") == ""


def test_the_published_key_is_the_one_on_the_host(host: Host) -> None:
    domain = host.machine.domain
    ask = ("opendkim-testkey", "-d", domain, "-s", "mail", "-k")
    host.run(*ask, f"/etc/dkimkeys/{domain}.mail.private")
    another = "/run/another.private"
    host.run("openssl", "genrsa", "-out", another, "2048")
    host.run_fails(*ask, another)


def test_exactly_the_guides_ten_ports_and_managesieve_are_open(host: Host) -> None:
    status = host.run("ufw", "status")
    opened = {line.split()[0] for line in status.splitlines() if "ALLOW" in line}
    assert opened == {f"{port}/tcp" for port in (22, 80, 443, 25, 587, 465, 143, 993, 110, 995, 4190)}


def test_all_records_are_answered_by_the_zone(host: Host) -> None:
    domain = host.machine.domain
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [addresses.NS1_4]

    def ask(name: str, kind: str) -> str:
        return str(resolver.resolve(name, kind)[0]).strip('"')

    for name in (domain, f"mail.{domain}"):
        assert ask(name, "A") == host.machine.ipv4
        assert ask(name, "AAAA") == host.machine.ipv6
    assert ask(domain, "MX") == f"10 mail.{domain}."
    assert ask(domain, "TXT") == f"v=spf1 ip4:{host.machine.ipv4} ip6:{host.machine.ipv6} -all"
    assert ask(f"_dmarc.{domain}", "TXT").startswith("v=DMARC1; p=quarantine; rua=mailto:postmaster@")
    assert ask(f"mail._domainkey.{domain}", "TXT").startswith("v=DKIM1;")


def test_the_outputs_are_the_host_name_and_where_the_keys_stand(host: Host) -> None:
    keys = {
        "generation": 1,
        "stage": "settled",
        "selectors": {"mail": "signs"},
        "since": "",
        "next": "the next key",
        "due": "when you say so",
    }
    assert host.stack.outputs() == {"hostname": f"mail.{host.machine.domain}", "dkim": keys}


def test_rspamds_suffixes_were_compiled_while_apt_was_at_work(host: Host) -> None:
    def first(unit: str) -> float:
        log = host.run("journalctl", "--unit", unit, "--output", "short-unix", "--quiet")
        return float(log.split()[0])

    assert first("mailhost-suffixes") < first("rspamd")
