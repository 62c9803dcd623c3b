"""What the stack says, and what follows for the names."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from doctor import expected, stack
from doctor.stack import Published, Stack, StackError
from model.cloudflare import URL, Access
from tests.unit.samples import RAW, settings

RECORD = "cloudflare:index/dnsRecord:DnsRecord"


def of(*records: Published, **changes: object) -> Stack:
    return Stack(
        name="test",
        settings=settings(**changes),
        published=records,
        cloudflare=Access(url=URL, token=None),
    )


def deployed(**changes: object) -> Stack:
    return of(*expected.of_settings(settings(**changes)), **changes)


def test_settings_decide_where_they_say_something() -> None:
    old = Published(name="example.com", type="MX", content="old.example.com", ttl=300, priority=5)
    (mx,) = [record for record in expected.wanted(of(old)) if record.type == "MX"]
    assert mx.values == {"10 mail.example.com."}


def test_the_state_adds_what_settings_cannot_know() -> None:
    key = Published(name="mail._domainkey.example.com", type="TXT", content='"v=DKIM1; " "p=abc"', ttl=1)
    (found,) = [record for record in expected.wanted(of(key)) if "_domainkey" in record.name]
    assert found.values == {"v=DKIM1; p=abc"}
    assert found.zone == "example.com"
    assert found.ttl == 300  # Cloudflare's automatic


def test_a_withdrawn_key_is_known_from_the_settings() -> None:
    rotated = {"dkim": {"rotation": {"generation": 2, "since": "2026-11-23T04:00:00Z"}}}
    left = Published(name="mail._domainkey.example.com", type="TXT", content='"v=DKIM1; p=abc"', ttl=300)
    (found,) = [record for record in expected.wanted(of(left, **rotated)) if record.name == left.name]
    assert found.values == {"v=DKIM1; p="}
    assert f"{left.name} TXT" in expected.undeployed(of(left, **rotated))


def test_what_the_outputs_say_of_the_keys_is_read() -> None:
    said = {"generation": 2, "stage": "signing"}
    root = {"type": "pulumi:pulumi:Stack", "outputs": {"hostname": "mail.example.com", "dkim": said}}
    assert stack.outputs({"deployment": {"resources": [root]}})["dkim"] == said
    assert stack.outputs({}) == {}


def test_a_domain_without_mail_shows_that_and_nothing_else() -> None:
    silent = {"domains": {"parked.example": {"mail": "none"}}}
    found = [record for record in expected.wanted(deployed(**silent)) if record.zone == "parked.example"]
    assert {(record.name, record.type): set(record.values) for record in found} == {
        ("parked.example", "MX"): {"0 ."},
        ("parked.example", "TXT"): {"v=spf1 -all"},
        ("*._domainkey.parked.example", "TXT"): {"v=DKIM1; p="},
        ("_dmarc.parked.example", "TXT"): {"v=DMARC1; p=reject"},
    }


def test_fields_are_written_as_on_the_wire() -> None:
    data = {"priority": 0.0, "weight": 1.0, "port": 993.0, "target": "mail.example.com"}
    # The content in the state may be that of before the last update.
    record = Published(name="_imaps._tcp.example.com", type="SRV", content="0 1 143 x", ttl=300, data=data)
    assert expected.text(record) == "0 1 993 mail.example.com."
    tlsa = {"usage": 3.0, "selector": 1.0, "matchingType": 1.0, "certificate": "AB"}
    assert expected.text(Published(name="x", type="TLSA", content="3 1 1 CD", ttl=1, data=tlsa)) == "3 1 1 AB"
    caa = {"flags": 0, "tag": "issue", "value": "letsencrypt.org"}
    stale = '0 issue "other.example"'
    assert expected.text(Published(name="x", type="CAA", content=stale, ttl=1, data=caa)) == '0 issue "letsencrypt.org"'


def test_names_go_to_the_closest_zone() -> None:
    zones = ("example.com", "mail.example.com", "ample.com")
    assert expected.zone_of("a.mail.example.com", zones) == "mail.example.com"
    assert expected.zone_of("_dmarc.example.com", zones) == "example.com"
    assert expected.zone_of("other.example", zones) == "other.example"


def test_a_stack_as_its_settings_lacks_nothing() -> None:
    assert expected.undeployed(deployed()) == []


def test_a_setting_that_was_not_applied_is_named() -> None:
    before = deployed()
    after = of(*before.published, ipv4="203.0.113.99")
    assert "mail.example.com A" in expected.undeployed(after)
    after = of(*before.published, mtaSts={"mode": "enforce"})
    assert expected.undeployed(after) == ["_mta-sts.example.com TXT"]


def test_records_are_read_from_an_exported_state() -> None:
    outputs = {"name": "Example.com", "type": "MX", "content": "mail.example.com", "priority": 10.0, "ttl": 60.0}
    state: dict[str, Any] = {
        "deployment": {"resources": [{"type": "pulumi:pulumi:Stack"}, {"type": RECORD, "outputs": outputs}]}
    }
    (record,) = stack.published(state)
    assert record == Published(name="example.com", type="MX", content="mail.example.com", priority=10, ttl=60)


@pytest.mark.parametrize("state", [{}, {"deployment": None}, {"deployment": {"resources": None}}])
def test_a_stack_that_never_was_up_has_no_records(state: dict[str, Any]) -> None:
    assert stack.published(state) == []


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the pulumi command: prints config.json, or state.json; fails where that is missing."""
    program = tmp_path / "pulumi"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$1" in config) file={tmp_path}/config.json;; *) file={tmp_path}/state.json;; esac\n'
        'if [ -e "$file" ]; then cat "$file"; else echo "error: no stack named \'nope\' found" >&2; exit 6; fi\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    return tmp_path


def configure(folder: Path, **changes: str) -> None:
    values = {f"mailhost:{key}": {"value": value, "secret": False} for key, value in {**RAW, **changes}.items()}
    values["cloudflare:apiToken"] = {"value": "a-token", "secret": True}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "state.json").write_text("{}")


def test_a_stack_is_read_with_its_secrets_wrapped(pulumi: Path) -> None:
    configure(pulumi)
    found = stack.read("prod", pulumi, timeout=10)
    assert found.settings.hostname == "mail.example.com"
    assert found.cloudflare.token is not None
    assert "a-token" not in repr(found)
    assert "argon2id" not in repr(found)


def test_a_stack_that_does_not_exist_is_one_sentence(pulumi: Path) -> None:
    with pytest.raises(StackError, match="^pulumi config: no stack named 'nope' found$"):
        stack.read("nope", pulumi, timeout=10)


def test_wrong_settings_are_named(pulumi: Path) -> None:
    configure(pulumi, ipv4="nonsense")
    with pytest.raises(StackError, match="(?s)settings of stack prod are wrong:.*ipv4: 'nonsense'"):
        stack.read("prod", pulumi, timeout=10)


def test_without_the_pulumi_command_the_message_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="make tools"):
        stack.read("prod", tmp_path, timeout=10)


def test_a_mailbox_file_belongs_to_the_settings(pulumi: Path) -> None:
    configure(pulumi)
    (pulumi / "mailboxes.prod.json").write_text("{}\n")
    with pytest.raises(StackError, match="mailboxesKey: is missing"):
        stack.read("company/prod", pulumi, timeout=10)


def test_an_answer_that_is_not_json_is_not_repeated(pulumi: Path) -> None:
    configure(pulumi)
    (pulumi / "config.json").write_text("a-token")
    with pytest.raises(StackError, match="not JSON") as caught:
        stack.read("prod", pulumi, timeout=10)
    assert "a-token" not in str(caught.value)
