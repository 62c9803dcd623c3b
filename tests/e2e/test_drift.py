"""What was changed behind the stack's back, on the host and at Cloudflare, is named in one table and put right."""

import pytest

from lab import cloudflare
from tests.e2e.conftest import Host
from tests.e2e.doctor import zone_path

BY_HAND = """
set -e
echo '# by hand' >> /etc/dovecot/dovecot.conf
chmod 0666 /etc/opendkim.conf
chown nobody /etc/letsencrypt/renewal-hooks/deploy/mailhost
systemctl disable --quiet certbot.timer
ip6tables -F ufw6-user-input
iptables -D ufw-user-input -p tcp --dport 995 -j ACCEPT
mailhostctl rollback postfix
"""


def published(domain: str) -> list[list[str]]:
    fields = ("name", "type", "content", "ttl", "comment")
    return sorted([str(item[field]) for field in fields] for item in cloudflare.records(domain))


def test_a_host_that_nobody_touched_has_no_drift(host: Host) -> None:
    assert "No drift: " in host.stack.drift().must_pass().output


def test_each_change_behind_the_stacks_back_is_named_and_put_right(host: Host) -> None:
    domain = host.machine.domain
    with host.stack.kept():
        host.stack.configure({"messageSizeLimit": "20971520"})
        host.stack.up().must_pass()
        host.run("sh", "-c", BY_HAND)
        kept = {(item["name"], item["type"]): item for item in cloudflare.records(domain)}
        before, place = published(domain), zone_path(host)
        cloudflare.request("DELETE", f"{place}/{kept[f'_dmarc.{domain}', 'TXT']['id']}")
        cloudflare.request("PATCH", f"{place}/{kept[domain, 'MX']['id']}", {"ttl": 120, "comment": "by hand"})
        srv = kept[f"_imaps._tcp.{domain}", "SRV"]
        cloudflare.request("PATCH", f"{place}/{srv['id']}", {"data": {**srv["data"], "port": 1}})
        left = {"type": "TXT", "name": domain, "content": '"left"', "ttl": 60, "comment": f"mailhost {host.stack.name}"}
        cloudflare.request("POST", place, left)

        drifted = host.stack.drift()
        assert drifted.code == 1
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in drifted.output.splitlines()]
        found = {(where, what): (wanted, now) for where, what, wanted, now, _ in filter(None, rows)}
        expected = {
            ("dovecot", "/etc/dovecot/dovecot.conf"): ("content as applied", "changed"),
            ("opendkim", "/etc/opendkim.conf"): ("mode 0644", "mode 0666"),
            ("certificate", "/etc/letsencrypt/renewal-hooks/deploy/mailhost"): (
                "owner root:root",
                "owner nobody:root",
            ),
            ("certificate", "certbot.timer"): ("enabled", "disabled"),
            (domain, f"_dmarc.{domain} TXT"): (found[domain, f"_dmarc.{domain} TXT"][0], "no such record"),
            (domain, f"{domain} MX"): (f"ttl 60; comment {kept[domain, 'MX']['comment']}", "ttl 120; comment by hand"),
            (domain, f"_imaps._tcp.{domain} SRV"): (
                f"content 0 1 993 {host.machine.hostname}.",
                f"content 0 1 1 {host.machine.hostname}.",
            ),
            (domain, f"{domain} TXT"): ("no such record", "left"),
        }
        assert found.items() >= expected.items()
        assert found["postfix", "generation"][1].startswith("generation ")
        assert found["firewall", "chain ufw6-user-input in the kernel"][1].startswith("0 rules, without ")
        assert "--dport 995" in found["firewall", "chain ufw-user-input in the kernel"][1]
        assert len(found) == len(expected) + 3

        assert "No drift: " in host.stack.drift("--repair").must_pass().output
        assert "No drift: " in host.stack.drift().must_pass().output
        host.stack.preview("--expect-no-changes").must_pass()
        assert host.run("postconf", "-h", "message_size_limit").strip() == "20971520"
        assert "--dport 25 " in host.run("ip6tables", "-S", "ufw6-user-input")
        assert host.run("systemctl", "is-enabled", "certbot.timer").strip() == "enabled"
        assert published(domain) == before


@pytest.mark.one_release("debian13")
def test_a_host_that_cannot_be_asked_is_no_host_without_drift(host: Host) -> None:
    with host.stack.kept():
        host.stack.configure({"ssh": {"port": 2}})
        silent = host.stack.drift()
    assert silent.code == 1
    assert "an answer" in silent.output
