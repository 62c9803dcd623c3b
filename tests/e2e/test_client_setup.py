"""What the web server serves: settings for mail programs, the page in a real browser, the policy; and its renewal."""

import json
import plistlib
import re
import ssl
import urllib.error
import urllib.request
import urllib.response
from collections.abc import Iterator
from functools import partial

import dns.resolver
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from lab import acme, cloudflare
from lab.addresses import RESOLVER4, Machine
from lab.browser import browser, downloads
from lab.clients import lab_names, wait_for
from tests.e2e.conftest import Host
from tests.mail_programs import Server, apple, outlook, thunderbird

SERVICES = [("imap", 993), ("imap", 143), ("pop3", 995), ("pop3", 110), ("smtp", 465), ("smtp", 587)]
BEST = [("imap", 993), ("pop3", 995), ("smtp", 465)]
SRV = {"_imaps": 993, "_pop3s": 995, "_submissions": 465, "_sieve": 4190}
WEB = ("autoconfig", "autodiscover", "mta-sts")
REQUEST = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>'
    "<EMailAddress>{}</EMailAddress><AcceptableResponseSchema>"
    "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
    "</AcceptableResponseSchema></Request></Autodiscover>"
)


@pytest.fixture(scope="module")
def host_of_two(host: Host) -> Iterator[Host]:
    """The host with its second domain served too, and afterwards as it was."""
    with host.stack.kept():
        host.stack.configure({"domains": {host.machine.second_domain: {}}})
        yield host


@pytest.fixture(scope="module")
def policy_alone(host_of_two: Host) -> Host:
    """The host without its second domain again, with a policy but no client setup."""
    host_of_two.stack.configure(
        {"domains": None, "clientSetup": {"enabled": False}, "mtaSts": {"enabled": True, "mode": "none"}}
    )
    return host_of_two


def domains(machine: Machine) -> tuple[str, str]:
    return machine.domain, machine.second_domain


def fetch(url: str, body: str | None = None) -> urllib.response.addinfourl:
    """Ask as a program does: by the lab's names, trusting the lab's certificate authority and no other."""
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=acme.issuing_roots()))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure)
    with lab_names():
        return opener.open(url, None if body is None else body.encode(), timeout=20)  # type: ignore[no-any-return] # because of the standard library's types


def ports(servers: list[Server], machine: Machine, user: str) -> list[tuple[str, int]]:
    """Return protocol and port of servers, all of them on the machine and for the user."""
    assert {(server.host, server.user) for server in servers} == {(machine.hostname, user)}
    assert all((server.security == "TLS") is (server.port in (993, 995, 465)) for server in servers)
    return [(server.protocol, server.port) for server in servers]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("path", ["mail/config-v1.1.xml", ".well-known/autoconfig/mail/config-v1.1.xml"])
def test_thunderbird_finds_every_service_of_both_domains(host_of_two: Host, scheme: str, path: str) -> None:
    machine = host_of_two.machine
    for domain in domains(machine):
        with fetch(f"{scheme}://autoconfig.{domain}/{path}?emailaddress=alice%40{domain}") as answer:
            assert answer.headers.get_content_type() in {"text/xml", "application/xml"}
            found = thunderbird(answer.read().decode(), f"alice@{domain}")
        assert ports(found, machine, f"alice@{domain}") == SERVICES


@pytest.mark.parametrize("path", ["autodiscover/autodiscover.xml", "Autodiscover/Autodiscover.xml"])
def test_outlook_gets_the_best_servers_and_its_users_name(host_of_two: Host, path: str) -> None:
    machine = host_of_two.machine
    for domain in domains(machine):
        address = f"bob.smith-2@{domain}"
        with fetch(f"https://autodiscover.{domain}/{path}", REQUEST.format(address)) as answer:
            found = outlook(answer.read().decode())
        assert ports(found, machine, address) == BEST


@pytest.mark.parametrize("address", ["<b>x</b>@evil.example", "a&amp;b@evil.example", "x" * 5000, ""])
def test_what_is_no_address_comes_back_in_no_document(host_of_two: Host, address: str) -> None:
    with fetch(
        f"https://autodiscover.{host_of_two.machine.domain}/autodiscover/autodiscover.xml", REQUEST.format(address)
    ) as answer:
        assert {server.user for server in outlook(answer.read().decode())} == {""}


def test_a_request_nobody_needs_is_refused(host_of_two: Host) -> None:
    with pytest.raises(urllib.error.HTTPError, match="413"):
        fetch(f"https://autodiscover.{host_of_two.machine.domain}/autodiscover/autodiscover.xml", "x" * 100_000)


def test_programs_that_know_srv_records_find_the_services(host_of_two: Host) -> None:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [RESOLVER4]
    for domain in domains(host_of_two.machine):
        for service, port in SRV.items():
            (answer,) = resolver.resolve(f"{service}._tcp.{domain}", "SRV")
            assert (answer.port, str(answer.target)) == (port, f"{host_of_two.machine.hostname}.")
            assert answer.priority == (10 if service == "_pop3s" else 0)


def test_each_domain_has_a_certificate_of_its_own_and_the_host_name_keeps_its_own(host_of_two: Host) -> None:
    machine = host_of_two.machine
    expected = {machine.hostname: [machine.hostname]}
    expected |= {f"autoconfig.{domain}": [f"{label}.{domain}" for label in WEB] for domain in domains(machine)}
    for name, names in expected.items():
        shown = host_of_two.run(
            "openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", f"/etc/letsencrypt/live/{name}/cert.pem"
        )
        assert re.findall(r"DNS:([^,\s]+)", shown) == names


def policy(domain: str) -> dict[str, list[str]]:
    """Fetch a domain's policy and read it, both as strictly as RFC 8461 lets a sender (§3.2, §3.3)."""
    with fetch(f"https://mta-sts.{domain}/.well-known/mta-sts.txt") as answer:
        assert (answer.status, answer.url.partition("/.")[0]) == (200, f"https://mta-sts.{domain}")
        assert answer.headers.get_content_type() == "text/plain"
        text = answer.read().decode("ascii")
    assert re.fullmatch(r"(?:[a-z_]+: [ -~]+\r\n)+", text)
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        fields.setdefault(key, []).append(value)
    assert (fields["version"], len(fields["max_age"])) == (["STSv1"], 1)
    assert 86_400 <= int(fields["max_age"][0]) <= 31_557_600
    return fields


def policy_id(domain: str) -> str:
    """Return the id in a domain's MTA-STS record (RFC 8461 §3.1)."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [RESOLVER4]
    (answer,) = resolver.resolve(f"_mta-sts.{domain}", "TXT")
    match = re.fullmatch(rb"v=STSv1; id=([A-Za-z0-9]{1,32})", b"".join(answer.strings))
    assert match
    return match[1].decode()


def test_senders_are_told_of_another_policy_and_nothing_else_changes(host_of_two: Host) -> None:
    host, machine = host_of_two, host_of_two.machine
    before = {domain: (policy_id(domain), policy(domain)) for domain in domains(machine)}
    for _, found in before.values():
        assert (found["mode"], found["mx"]) == (["testing"], [machine.hostname])
    host.stack.configure({"mtaSts": {"mode": "enforce"}})
    assert set(host.stack.planned()) == {
        ("update", "mail-nginx-files"),
        ("update", "mail-nginx-apply"),
        *(("update", f"mail-{domain}-mta-sts-id") for domain in domains(machine)),
    }
    host.stack.up().must_pass()
    for domain, (earlier, _) in before.items():
        assert policy(domain)["mode"] == ["enforce"]
        assert policy_id(domain) != earlier
        # As postfix-mta-sts-resolver reads it, which the host has for mail of its own.
        host.run("sh", "-c", "cat > /root/roots.pem", content=acme.issuing_roots())
        read = host.run("env", "SSL_CERT_FILE=/root/roots.pem", "mta-sts-query", domain)
        assert read.startswith(f"(<STSFetchResult.VALID: 1>, ('{policy_id(domain)}', ")
    assert host.stack.planned() == []


def test_the_page_in_a_browser_shows_the_settings_and_gives_the_profile(host_of_two: Host) -> None:
    machine = host_of_two.machine
    names = {name: machine.ipv4 for name in (machine.hostname, f"autoconfig.{machine.second_domain}")}
    with browser(names) as chrome:
        chrome.get(f"http://autoconfig.{machine.second_domain}/")
        assert chrome.current_url == f"https://{machine.hostname}/"
        rows = chrome.find_elements(By.CSS_SELECTOR, "tbody tr")
        cells = [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]
        assert [int(row[2]) for row in cells] == [port for _, port in SERVICES] + [4190]
        assert {row[1] for row in cells} == {machine.hostname}
        assert [row[3] for row in cells] == ["SSL/TLS", "STARTTLS"] * 3 + ["STARTTLS"]
        # So its style was accepted.
        for scheme, dark in (("light", False), ("dark", True)):
            preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)
            back = chrome.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
            assert (max(map(int, re.findall(r"\d+", back)[:3])) < 60) is dark
        picture = chrome.find_element(By.CSS_SELECTOR, "figure svg").size
        assert picture["width"] == picture["height"] > 100
        width = chrome.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert width

        chrome.find_element(By.ID, "address").send_keys("not an address")
        chrome.find_element(By.TAG_NAME, "button").click()
        assert chrome.current_url == f"https://{machine.hostname}/"
        box = chrome.find_element(By.ID, "address")
        box.clear()
        box.send_keys(f"alice@{machine.second_domain}")
        chrome.find_element(By.TAG_NAME, "button").click()
        profile = wait_for(lambda: _downloaded(chrome), "the profile")
        assert ports(apple(profile), machine, f"alice@{machine.second_domain}") == [BEST[0], BEST[2]]
        assert _log(chrome, "browser") == []
        assert _asked(chrome) <= {*names}


def _downloaded(chrome: Chrome) -> bytes | None:
    """Return the profile once it is whole: until then Chrome holds its name with an empty file."""
    return next((file.read_bytes() for file in downloads(chrome).glob("*.mobileconfig")), None)


def _log(chrome: Chrome, kind: str) -> list[dict[str, str]]:
    return list(chrome.get_log(kind))  # type: ignore[no-untyped-call] # because selenium has no types there


def _asked(chrome: Chrome) -> set[str]:
    """Return the hosts this browser has sent requests to."""
    events = (json.loads(entry["message"])["message"] for entry in _log(chrome, "performance"))
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {url.split("/")[2] for url in sent if url.startswith("http")}


def test_two_profiles_are_never_taken_for_one(host_of_two: Host) -> None:
    machine = host_of_two.machine
    found = []
    for user in ("alice", "bob"):
        with fetch(f"https://{machine.hostname}/mail.mobileconfig?address={user}%40{machine.domain}") as answer:
            assert answer.headers["Content-Type"] == "application/x-apple-aspen-config"
            found.append(plistlib.loads(answer.read()))
    for key in ("PayloadUUID", "PayloadIdentifier"):
        seen = {payload[key] for profile in found for payload in (profile, *profile["PayloadContent"])}
        assert len(seen) == 4


def test_the_web_server_says_little_and_keeps_no_addresses(host_of_two: Host) -> None:
    machine = host_of_two.machine
    with fetch(f"https://{machine.hostname}/") as answer:
        headers = answer.headers
    assert headers["Server"] == "nginx"
    assert "max-age=31536000" in headers["Strict-Transport-Security"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    log = host_of_two.run("cat", "/var/log/nginx/access.log")
    assert "/mail.mobileconfig" in log
    assert "@" not in log
    assert "%40" not in log
    assert not re.search(r"\d+\.\d+\.\d+\.\d+|[0-9a-f]+:[0-9a-f]*::", log)


@pytest.mark.parametrize("protocol", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_old_tls_is_refused(host_of_two: Host, protocol: ssl.TLSVersion) -> None:
    script = (
        'openssl s_client -connect 127.0.0.1:443 -servername "$1" "$2" -cipher DEFAULT@SECLEVEL=0 </dev/null 2>&1'
        " | grep -c 'Cipher is ECDHE' || true"
    )
    option = {ssl.TLSVersion.TLSv1_1: "-tls1_1", ssl.TLSVersion.TLSv1_2: "-tls1_2"}[protocol]
    spoken = host_of_two.run("sh", "-c", script, "sh", host_of_two.machine.hostname, option).strip()
    assert spoken == ("0" if option == "-tls1_1" else "1")


def test_certificates_are_renewed_while_nginx_runs_and_are_served_then(host_of_two: Host) -> None:
    machine = host_of_two.machine
    for name in (machine.hostname, f"autoconfig.{machine.second_domain}"):
        before = _served(host_of_two, name)
        renew = ("--force-renewal", "--no-random-sleep-on-renew", "--cert-name", name)
        host_of_two.run("certbot", "renew", "--non-interactive", *renew)
        # A reload is over when the old process has handed over its sockets.
        wait_for(partial(_serves_another, host_of_two, name, before), f"a new certificate of {name}")
    check = f"echo {machine.domain} mail | mailhostctl check --hostname {machine.hostname}"
    said = host_of_two.run("sh", "-c", check)
    assert f"ok certificate served for autoconfig.{machine.second_domain}" in said


def _served(host: Host, name: str) -> str:
    """Return the fingerprint of the certificate served for a name."""
    connect = 'openssl s_client -connect 127.0.0.1:443 -servername "$1" </dev/null 2>/dev/null'
    return host.run("sh", "-c", f"{connect} | openssl x509 -noout -fingerprint", "sh", name)


def _serves_another(host: Host, name: str, before: str) -> bool:
    return _served(host, name) != before


def test_the_policy_needs_no_client_setup(policy_alone: Host) -> None:
    domain = policy_alone.machine.domain
    assert (policy(domain)["mode"], policy(domain).get("mx")) == (["none"], None)
    assert [r["name"] for r in cloudflare.records(domain) if r["type"] == "CNAME"] == [f"mta-sts.{domain}"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(f"https://mta-sts.{domain}/mail/config-v1.1.xml")


def test_a_domain_that_leaves_takes_its_records_and_its_renewal_along(policy_alone: Host) -> None:
    host, second = policy_alone, policy_alone.machine.second_domain
    assert [record for record in cloudflare.records(second) if record["type"] in ("SRV", "CNAME")] == []
    assert second not in host.run("sh", "-c", "ls /etc/letsencrypt/renewal/*.conf")
    assert host.run("test", "-d", f"/etc/letsencrypt/live/autoconfig.{second}") == ""
    assert host.stack.planned() == []


def test_switched_off_nothing_of_it_is_left_and_renewal_goes_on(policy_alone: Host) -> None:
    host, machine = policy_alone, policy_alone.machine
    host.stack.configure({"clientSetup": {"enabled": False}, "mtaSts": None})
    host.stack.up().must_pass()
    listening = {line.split()[3].rpartition(":")[2] for line in host.run("ss", "-Hltn").splitlines()}
    assert not listening & {"80", "443"}
    assert "443" not in re.findall(r"^(\d+)/tcp", host.run("ufw", "status"), re.M)
    assert [record for record in cloudflare.records(machine.domain) if record["type"] in ("SRV", "CNAME")] == []
    with pytest.raises(dns.resolver.NXDOMAIN):
        policy_id(machine.domain)
    kept = host.run("sh", "-c", "ls /etc/letsencrypt/renewal/*.conf")
    assert "autoconfig." not in kept
    assert "mta-sts." not in kept
    renew = ("--force-renewal", "--no-random-sleep-on-renew", "--cert-name", machine.hostname)
    assert "(success)" in host.run("certbot", "renew", "--non-interactive", *renew)
    host.stack.configure({"clientSetup": None})
    host.stack.up().must_pass()
    with fetch(f"https://{machine.hostname}/") as answer:
        assert answer.status == 200
    assert host.run("sh", "-c", "ls /etc/letsencrypt/renewal/*.conf").count("autoconfig.") == 1
