"""What the settings say of mail to other servers, in the files of those who have a part in it."""

import pytest

from model import constants, packages, postfix, records, resolver, tls_policy
from model.files import ConfigFile
from tests.unit.samples import settings
from tests.unit.test_daemons import main_cf, master_cf, text

MAP = "texthash:$config_directory/tls_policies"


def paths(files: tuple[ConfigFile, ...]) -> set[str]:
    return {file.path for file in files}


@pytest.mark.parametrize(
    ("dane", "mta_sts", "level", "maps"),
    [
        (True, True, "dane", f"{MAP}, socketmap:unix:{constants.TLS_POLICY_SOCKET}:mta-sts"),
        (True, False, "dane", MAP),
        (False, True, "may", f"{MAP}, socketmap:inet:127.0.0.1:{constants.MTA_STS}:mta-sts"),  # nothing to weigh
        (False, False, "may", MAP),
    ],
)
def test_each_proof_has_its_switch(dane: bool, mta_sts: bool, level: str, maps: str) -> None:
    made = settings(outbound={"dane": dane, "mtaSts": mta_sts}, spam={"enabled": False}, limits={"enabled": False})
    main = main_cf(made)
    assert main["smtp_tls_security_level"] == level
    assert main["smtp_tls_policy_maps"] == maps
    assert ("smtp_dns_support_level" in main) is dane
    assert ("unbound" in packages.packages(made)) is dane
    assert ("postfix-mta-sts-resolver" in packages.packages(made)) is mta_sts
    assert ("/etc/postfix/resolv.conf" in paths(postfix.files(made))) is dane


def test_postfix_asks_where_the_others_answer() -> None:
    made = settings()
    assert f"nameserver {constants.RESOLVER}\n" in text(postfix.files(made), "/etc/postfix/resolv.conf")
    (unbound,) = resolver.files(made)
    assert f"interface: {constants.RESOLVER}\n" in unbound.content
    files = tls_policy.files(made)
    socket = text(files, "/etc/systemd/system/mailhost-tls-policy.socket")
    assert f"ListenStream={constants.POSTFIX_QUEUE}/{constants.TLS_POLICY_SOCKET}\n" in socket
    assert f"port: {constants.MTA_STS}\n" in text(files, "/etc/mta-sts-daemon.yml")
    assert f"--mta-sts {constants.MTA_STS}\n" in text(files, "/etc/systemd/system/mailhost-tls-policy.service")


@pytest.mark.parametrize(
    ("os", "unit"),
    [("debian12", "postfix@-.service"), ("debian13", "postfix.service"), ("ubuntu24.04", "postfix@-.service")],
)
def test_the_drop_in_is_of_the_unit_that_runs_postfix(os: str, unit: str) -> None:
    assert f"/etc/systemd/system/{unit}.d/mailhost.conf" in paths(postfix.files(settings(os=os)))


def test_policies_are_lines_as_postfix_reads_them() -> None:
    policies = {
        "Bank.example": {"level": "secure", "match": ["mx.bank.example", ".bank.example"]},
        ".old.example": "none",
    }
    lines = text(postfix.files(settings(outbound={"policies": policies})), "/etc/postfix/tls_policies").splitlines()
    assert [line for line in lines if line[0] != "#"] == [
        ".old.example none",
        "bank.example secure match=mx.bank.example:.bank.example",
    ]


@pytest.mark.parametrize(("ipv6", "both", "only"), [("2001:db8::1", False, True), ("2001:db8::1", True, False)])
def test_mail_may_leave_over_ipv4_only(ipv6: str, both: bool, only: bool) -> None:
    made = settings(ipv6=ipv6, outbound={"ipv6": both})
    services = master_cf(made)
    assert main_cf(made)["inet_protocols"] == "all"
    for name in ("smtp/unix", "relay/unix"):
        assert ("-o inet_protocols=ipv4\n" in services[name]) is only, name
    assert "inet_protocols" not in services["smtp/inet"]


def test_a_setting_changes_one_file() -> None:
    before = {file.path: vars(file) for file in postfix.files(settings())}
    for outbound, path in (
        ({"policies": {"bank.example": "secure"}}, "tls_policies"),
        ({"queueDays": 3}, "main.cf"),
        ({"bounceDays": 3}, "main.cf"),
    ):
        after = {file.path: vars(file) for file in postfix.files(settings(outbound=outbound))}
        assert {name for name in after if after[name] != before[name]} == {f"/etc/postfix/{path}"}


def test_two_keys_that_follow_each_other_have_a_record_each() -> None:
    assert [records.tlsa_place(number) for number in (1, 2, 3)] == ["odd", "even", "odd"]
    assert records.tlsa_name(settings(domains={"example.org": {}})) == "_25._tcp.mail.example.com"


@pytest.mark.parametrize(("ttl", "served"), [(60, 60), (3600, 3600), (1, 300)])
def test_others_remember_as_long_as_cloudflare_says(ttl: int, served: int) -> None:
    assert records.served_ttl(settings(dns={"ttl": ttl})) == served
