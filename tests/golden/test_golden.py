"""Every file of three named hosts, to the byte. A change here is what `pulumi up` will do to such a host.

To accept a change: `pytest tests/golden --update-golden`, then read the difference before you commit it.
"""

import shutil
from pathlib import Path

import pytest

from model import (
    accounts,
    antivirus,
    certbot,
    digest,
    dkim,
    dovecot,
    fail2ban,
    firewall,
    metrics,
    opendkim,
    packages,
    postfix,
    records,
    redis,
    resolver,
    rspamd,
    tls_policy,
    web,
)
from model.settings import Settings
from tests.golden.cases import CASES, settings

GOLDEN = Path(__file__).parent
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArpFcJcdyvrufsEJOF5lv
-----END PUBLIC KEY-----
"""


def rendered(made: Settings) -> dict[str, str]:
    """Everything the host and the zone get, by path below the case's folder."""
    groups = (postfix.files, dovecot.files, opendkim.files, firewall.files, certbot.files)
    files = [file for group in groups for file in group(made)] + [accounts.users_file(made)]
    probes = [*postfix.health(made), *dovecot.health(made), *opendkim.health(made)]
    requires = {*postfix.requires(made), *dovecot.requires(made)}
    if made.spam.enabled:
        filters = (redis, rspamd, *((antivirus,) if made.spam.antivirus else ()))
        files += [file for module in filters for file in module.files(made)]
        probes += [probe for module in filters for probe in module.health(made)]
    if made.ban.enabled:
        files += fail2ban.files(made)
        probes += fail2ban.health(made)
    if made.web:
        files += web.files(made)
        probes += web.health(made)
        requires |= {*web.requires(made)}
    for on, module in (
        (made.resolver, resolver),
        (made.outbound.mta_sts, tls_policy),
        (made.metrics.enabled, metrics),
        (made.metrics.digest, digest),
    ):
        if on:
            files += module.files(made)
            probes += module.health(made)
    found = {file.path.lstrip("/"): file.content for file in files}
    zone = [*records.address(made)]
    for domain in made.served:
        name, content = dkim.key_name(domain.selector, domain.name), dkim.quoted(dkim.key_record(PUBLIC_KEY))
        key = records.Record(key="dkim", name=name, type="TXT", content=content, ttl=made.dns.ttl)
        zone += [*records.early(made, domain), key]
        zone += [*records.invitation(made, domain), *records.promise(made, domain)]
    zone += [record for domain in made.silent for record in records.silent(made, domain)]
    found["host.txt"] = "\n".join(
        [
            *(f"package {name}" for name in packages.packages(made)),
            *(f"file {file.mode} {file.owner} {file.path}" for file in sorted(files, key=lambda file: file.path)),
            *(f"probe {probe}" for probe in probes),
            *(f"requires {path}" for path in sorted(requires)),
            "",
        ]
    )
    found["zone.txt"] = "".join(
        f"{record.key}: {record.name} {record.ttl} {record.type} "
        f"{f'{record.priority} ' if record.type == 'MX' else ''}{record.content}\n"
        for record in zone
    )
    return found


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, request: pytest.FixtureRequest) -> None:
    folder = GOLDEN / case
    actual = rendered(settings(case))
    if request.config.getoption("--update-golden"):
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in actual.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content.encode())
    expected = {str(p.relative_to(folder)): p.read_bytes().decode() for p in folder.rglob("*") if p.is_file()}
    assert actual.keys() == expected.keys()
    for path, content in expected.items():
        assert actual[path] == content, f"{case}/{path} differs; if you meant it: pytest tests/golden --update-golden"


def test_no_folder_without_a_case() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir() and not path.name.startswith("__")} == CASES.keys()
