"""What the files of different daemons must agree on, for every choice of services."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import accounts, certbot, constants, dovecot, firewall, opendkim, packages, postfix
from model.files import ConfigFile
from model.options import Services
from model.settings import Settings
from tests.unit.samples import ARGON2ID, BCRYPT, settings

PORTS = {
    **{"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "managesieve": 4190},
    **{"submission": 587, "submissions": 465},
}
OSES = ("debian12", "debian13", "ubuntu24.04")
choices = st.fixed_dictionaries({name: st.booleans() for name in PORTS})


def text(files: tuple[ConfigFile, ...], path: str) -> str:
    return next(file.content for file in files if file.path == path)


def main_cf(made: Settings) -> dict[str, str]:
    logical = re.sub(r"\n[ \t]+", " ", text(postfix.files(made), "/etc/postfix/main.cf"))  # postconf(5)
    lines = logical.splitlines()
    return dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines if line and line[0] not in "# ")


def master_cf(made: Settings) -> dict[str, str]:
    """Options by service and type."""
    body = re.sub(r"^#.*\n", "", text(postfix.files(made), "/etc/postfix/master.cf"), flags=re.M)
    entries = re.findall(r"^(\S+)\s+(\S+) .*\n((?:  .*\n)*)", body, flags=re.M)
    return {f"{name}/{kind}": options for name, kind, options in entries}


def parameters(file: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in file.splitlines() if line and not line.startswith("#"))


def test_the_services_known_here_are_all_there_are() -> None:
    assert Services.model_fields.keys() == PORTS.keys()


@pytest.mark.parametrize("os", OSES)
@given(on=choices)
def test_a_port_is_open_served_and_probed_exactly_when_its_service_is_on(os: str, on: dict[str, bool]) -> None:
    made = settings(os=os, services=on, metrics={"enabled": False})
    wanted = {port for name, port in PORTS.items() if on[name]}
    opened = {port.number for port in firewall.ports(made)}
    assert opened & set(PORTS.values()) == wanted
    listening = {
        int(port)
        for port in re.findall(r"^\s+port = (\d+)$", text(dovecot.files(made), "/etc/dovecot/dovecot.conf"), re.M)
    }
    doors = {
        PORTS[key.removesuffix("/inet")]
        for key in master_cf(made)
        if key.startswith("submission") and key.endswith("/inet")
    }
    assert (listening - {0}) | doors == wanted
    probed = {
        int(number)
        for probe in (*postfix.health(made), *dovecot.health(made))
        for number in re.findall(r" (\d+)\b", probe)[:1]
    }
    assert probed - {25} == wanted
    assert ("dovecot-imapd" in packages.packages(made)) is (on["imap"] or on["imaps"])
    assert ("dovecot-pop3d" in packages.packages(made)) is (on["pop3"] or on["pop3s"])
    assert ("dovecot-managesieved" in packages.packages(made)) is on["managesieve"]


def test_the_ten_ports_of_the_guide_and_managesieve_are_the_default() -> None:
    guide = [22, 25, 80, 110, 143, 443, 465, 587, 993, 995]
    assert sorted(port.number for port in firewall.ports(settings())) == [*guide, 4190]


def test_ssh_is_the_first_rule_and_never_limited() -> None:
    rules = text(firewall.files(settings(ssh={"port": 2222})), "/etc/ufw/user.rules")
    first = re.findall(r"^-A ufw-user-input .*", rules, re.M)[0]
    assert first == "-A ufw-user-input -p tcp --dport 2222 -j ACCEPT"
    assert "--dport 22 " not in rules


def test_a_port_is_listed_once_whatever_asks_for_it() -> None:
    made = settings(ssh={"port": 443}, firewall={"allow": [25, 8443, 8443]})
    numbers = [port.number for port in firewall.ports(made)]
    assert sorted(numbers) == sorted(set(numbers))
    assert {25, 443, 8443} <= set(numbers)


@pytest.mark.parametrize("family", ["user", "user6"])
def test_rules_are_tcp_only_and_ufw_sees_what_iptables_does(family: str) -> None:
    rules = text(firewall.files(settings(ipv6="2001:db8::1")), f"/etc/ufw/{family}.rules")
    tuples = re.findall(r"^### tuple ### allow (\w+) (\d+) (\S+) any \3 in comment=[0-9a-f]+$", rules, re.M)
    chains = re.findall(r"^-A ufw6?-user-input -p (\w+) --dport (\d+) -j ACCEPT$", rules, re.M)
    assert [(protocol, port) for protocol, port, _ in tuples] == chains
    assert {protocol for protocol, _ in chains} == {"tcp"}
    assert len(chains) == 11


def test_without_ipv6_only_the_operators_ports_are_open_there() -> None:
    rules = text(firewall.files(settings(firewall={"allow": [9000]})), "/etc/ufw/user6.rules")
    assert re.findall(r"--dport (\d+)", rules) == ["22", "9000"]


@pytest.mark.parametrize("os", OSES)
def test_the_sockets_of_postfix_are_where_the_others_put_them(os: str) -> None:
    made = settings(os=os)
    main, conf = main_cf(made), text(dovecot.files(made), "/etc/dovecot/dovecot.conf")
    signer = parameters(text(opendkim.files(made), "/etc/opendkim.conf"))
    listeners = dict(re.findall(r"unix_listener (/\S+) {\n\s+mode = (\d+)", conf))
    queue = constants.POSTFIX_QUEUE
    assert listeners[f"{queue}/{main['smtpd_sasl_path']}"] == "0660"
    assert listeners[f"{queue}/{main['virtual_transport'].removeprefix('lmtp:unix:')}"] == "0600"
    assert signer["Socket"] == f"local:{queue}/{main['non_smtpd_milters'].removeprefix('unix:')}"


@pytest.mark.parametrize("os", OSES)
def test_both_daemons_serve_the_issued_certificate(os: str) -> None:
    made = settings(os=os, hostname="mx.example.com")
    paths = {f"/etc/letsencrypt/live/mx.example.com/{name}.pem" for name in ("fullchain", "privkey")}
    conf = text(dovecot.files(made), "/etc/dovecot/dovecot.conf")
    assert set(main_cf(made)["smtpd_tls_chain_files"].split(", ")) == paths
    assert set(re.findall(r"^ssl_\S+ = <?(/\S+)$", conf, re.M)) == paths
    assert paths <= set(postfix.requires(made))
    assert paths <= set(dovecot.requires(made))


@given(on=choices)
def test_passwords_are_never_offered_on_port_25(on: dict[str, bool]) -> None:
    made = settings(services=on)
    assert "smtpd_sasl_auth_enable" not in main_cf(made)  # default: no
    services = master_cf(made)
    assert "smtpd_sasl_auth_enable=no" in services["smtpd/pass"]
    for name in ("submission", "submissions"):
        options = services.get(f"{name}/inet")
        assert (options is not None) is on[name]
        if options:
            assert "smtpd_tls_security_level=encrypt" in options
            assert "smtpd_client_restrictions=permit_sasl_authenticated,reject" in options
            assert "reject_sender_login_mismatch" in options
            assert f"smtpd_tls_wrappermode={'yes' if name == 'submissions' else 'no'}" in options


def test_mail_waits_for_the_signer() -> None:
    main = main_cf(settings())
    assert main["milter_default_action"] == "tempfail"
    assert main["non_smtpd_milters"] == "unix:opendkim/opendkim.sock"
    assert main["smtpd_milters"] == "unix:rspamd/milter.sock"
    assert main["internal_mail_filter_classes"] == "bounce"
    # What comes in on port 25 is judged, never signed; what people submit is counted, then signed.
    wanted = "-o smtpd_milters=unix:rspamd/milter.sock,unix:opendkim/opendkim.sock\n"
    services = master_cf(settings())
    assert [name for name, options in services.items() if wanted in options] == ["submission/inet", "submissions/inet"]
    assert [name for name, options in services.items() if "smtpd_milters" in options and wanted not in options] == []
    assert main["smtpd_relay_restrictions"] == "reject_unauth_destination"


def test_where_rspamd_signs_each_mail_sees_it_once() -> None:
    made = settings(dkim={"signer": "rspamd"})
    main, rspamd = main_cf(made), "unix:rspamd/milter.sock"
    assert (main["smtpd_milters"], main["non_smtpd_milters"]) == (rspamd, rspamd)
    for door in ("submission", "submissions"):
        assert re.findall(r"-o smtpd_milters=(.*)\n", master_cf(made)[f"{door}/inet"]) == [rspamd]


def test_without_a_filter_port_25_has_no_milter() -> None:
    made = settings(spam={"enabled": False}, limits={"enabled": False})
    assert "smtpd_milters" not in main_cf(made)
    assert "-o smtpd_milters=unix:opendkim/opendkim.sock\n" in master_cf(made)["submission/inet"]


def test_without_postscreen_smtpd_answers_on_port_25_itself() -> None:
    on, off = settings(), settings(smtp={"postscreen": False})
    assert {"smtp/inet", "smtpd/pass", "tlsproxy/unix"} <= master_cf(on).keys()
    assert not {"smtpd/pass", "tlsproxy/unix"} & master_cf(off).keys()
    (entry,) = re.findall(r"^smtp +inet .*", text(postfix.files(off), "/etc/postfix/master.cf"), re.M)
    assert entry.split()[-1] == "smtpd"
    assert master_cf(off)["smtp/inet"] == "  -o smtpd_sasl_auth_enable=no\n"
    assert not [name for name in main_cf(off) if name.startswith("postscreen")]
    assert [name for name in main_cf(on) if name.startswith("postscreen")]


def test_a_disabled_or_full_mailbox_takes_no_mail_at_any_door() -> None:
    main = main_cf(settings())
    assert main["smtpd_restriction_classes"] == "mailbox_restrictions"
    assert main["mailbox_restrictions"].startswith(
        "check_recipient_access texthash:$config_directory/disabled_recipients, check_policy_service {"
    )
    assert main["smtpd_recipient_restrictions"].endswith(", mailbox_restrictions")
    for door in ("submission", "submissions"):
        options = master_cf(settings())[f"{door}/inet"]
        assert "-o smtpd_recipient_restrictions=reject_non_fqdn_recipient,mailbox_restrictions\n" in options


@pytest.mark.parametrize(("recipients", "limit"), [(999, []), (1000, ["1001"]), (5000, ["5001"])])
def test_postfix_takes_as_many_recipients_as_rspamd_must_see_to_refuse(recipients: int, limit: list[str]) -> None:
    doors = master_cf(settings(limits={"recipients": recipients}))
    for door in ("submission", "submissions"):
        assert re.findall(r"-o smtpd_recipient_limit=(\d+)\n", doors[f"{door}/inet"]) == limit
    uncounted = master_cf(settings(limits={"enabled": False, "recipients": recipients}))
    assert "smtpd_recipient_limit" not in uncounted["submission/inet"]


def test_the_domain_is_virtual_and_nothing_is_local() -> None:
    main = main_cf(settings())
    assert main["mydestination"] == ""
    assert main["virtual_mailbox_domains"] == "texthash:$config_directory/virtual_domains"
    assert parameters(text(postfix.files(settings()), "/etc/postfix/virtual_domains")) == {"example.com": "ok"}
    assert "example.com" not in main["virtual_alias_domains"]


@pytest.mark.parametrize(
    ("ipv6", "protocols", "networks", "listen"),
    [(None, "ipv4", "127.0.0.0/8", "*"), ("2001:db8::1", "all", "127.0.0.0/8 [::1]/128", "*, ::")],
)
def test_ipv6_is_on_everywhere_or_nowhere(ipv6: str | None, protocols: str, networks: str, listen: str) -> None:
    made = settings(ipv6=ipv6)
    main = main_cf(made)
    assert (main["inet_protocols"], main["mynetworks"]) == (protocols, networks)
    assert f"\nlisten = {listen}\n" in text(dovecot.files(made), "/etc/dovecot/dovecot.conf")


def test_postfix_and_dovecot_know_the_same_mailboxes() -> None:
    made = settings(mailboxes={"bob@example.com": BCRYPT, "Alice@example.com": ARGON2ID}, postmaster="bob@example.com")
    known = parameters(text(postfix.files(made), "/etc/postfix/virtual_mailboxes"))
    users = [line.split(":", 1) for line in accounts.users_file(made).content.splitlines() if not line.startswith("#")]
    assert list(known) == [address for address, _ in users] == ["alice@example.com", "bob@example.com"]
    logins = parameters(text(postfix.files(made), "/etc/postfix/sender_logins"))
    assert {address: logins[address] for address in known} == {address: address for address in known}
    assert [rest for _, rest in users] == [f"{ARGON2ID}::::::", f"{BCRYPT}::::::"]


def test_the_users_file_is_for_dovecots_eyes_only() -> None:
    file = accounts.users_file(settings())
    assert (file.path, file.mode, file.owner) == ("/etc/dovecot/users", "0640", "root:dovecot")


@pytest.mark.parametrize("postmaster", ["alice", "postmaster"])
def test_role_addresses_reach_the_postmaster(postmaster: str) -> None:
    made = settings(mailboxes={f"{postmaster}@example.com": ARGON2ID})
    aliases = parameters(text(postfix.files(made), "/etc/postfix/virtual_aliases"))
    expected = {
        f"{role}@{at}"
        for role, at in itertools.product(
            ("abuse", "mailer-daemon", "postmaster", "root"), ("example.com", "localhost")
        )
    }
    assert aliases.keys() == expected - {f"{postmaster}@example.com"}  # a mailbox is no alias
    assert set(aliases.values()) == {f"{postmaster}@example.com"}


def test_both_signing_tables_name_one_key() -> None:
    made = settings(dkim={"selector": "2026a"})
    files = opendkim.files(made)
    key, where = parameters(text(files, "/etc/opendkim/KeyTable")).popitem()
    assert parameters(text(files, "/etc/opendkim/SigningTable")) == {"*@example.com": key}
    assert key == "2026a._domainkey.example.com"
    assert where == f"example.com:2026a:{opendkim.private_key_path(made.served[0], '2026a')}"


def test_what_is_oversigned_is_signed() -> None:
    """Otherwise a header that is present makes every signature invalid."""
    config = parameters(text(opendkim.files(settings()), "/etc/opendkim.conf"))
    # RFC 6376 §5.4.1, which OpenDKIM signs by default ("*")
    usual = {"from", "reply-to", "subject", "date", "to", "cc", "in-reply-to", "references"}
    signed = usual | {name.removeprefix("+").lower() for name in config["SignHeaders"].split(",")}
    assert {name.lower() for name in config["OversignHeaders"].split(",")} <= signed


def test_each_selector_has_a_key_file_of_its_own() -> None:
    assert opendkim.private_key_path(settings().served[0], "mail") == "/etc/dkimkeys/example.com.mail.private"


def test_only_programs_are_executable() -> None:
    made = settings()
    groups = (postfix, dovecot, opendkim, firewall, certbot)
    files = [file for group in groups for file in group.files(made)]
    assert [file.path for file in files if int(file.mode, 8) & 0o111] == [
        "/usr/local/lib/mailhost/quota-warning",
        "/usr/local/lib/mailhost/filter-errors",
        "/usr/local/lib/mailhost/sieve/learn",
        "/etc/letsencrypt/renewal-hooks/deploy/mailhost",
    ]
    assert len({file.path for file in files}) == len(files)


def test_packages_are_sorted_and_there_is_no_package_dovecot() -> None:
    names = packages.packages(settings())
    assert list(names) == sorted(set(names))
    assert "dovecot" not in names
