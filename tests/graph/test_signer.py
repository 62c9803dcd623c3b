"""rspamd as the signer: two keys for each domain, and nothing of OpenDKIM."""

import pytest

from tests.graph.conftest import CONFIG
from tests.graph.harness import ED25519_SEED, PRIVATE_KEY, Graph, is_secret, run

RSPAMD = "mail-spam-rspamd-apply"
WAIT_DKIM = "mail-dkim-visible-wait"
KEYS = ("mail-example.org-rsa", "mail-example.org-ed25519")
RECORDS = ("mail-example.org-txt", "mail-example.org-txt-ed25519")


@pytest.fixture(scope="module")
def signing() -> Graph:
    """The program with rspamd as the signer."""
    return run(CONFIG | {"dkim": {"signer": "rspamd"}}, secret_keys=("mailboxes",))


def test_opendkim_is_not_there(signing: Graph) -> None:
    assert not [seen.name for seen in signing.resources.values() if "opendkim" in seen.name]
    assert "opendkim" not in signing.named("mail-packages-install").text("stdin")


@pytest.mark.parametrize(("record", "key"), [*zip(RECORDS, KEYS, strict=True)])
def test_each_key_is_published_and_waited_for_before_it_signs(signing: Graph, record: str, key: str) -> None:
    published = signing.named(record)
    assert signing.named(key).urn in published.property_dependencies["content"]
    line = " ".join(["example.org", *(published.text(part) for part in ("name", "type", "content"))])
    assert line in signing.named(WAIT_DKIM).text("stdin").splitlines()
    assert signing.waits_for(RSPAMD, WAIT_DKIM)
    assert signing.waits_for("mail-postfix-apply", RSPAMD)  # mail never leaves unsigned


def test_the_second_record_names_the_other_kind_of_key(signing: Graph) -> None:
    record = signing.named(RECORDS[1])
    assert record.text("name") == "mail-ed25519._domainkey.example.org"
    assert record.text("content") == '"v=DKIM1; h=sha256; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="'


def test_both_private_keys_are_for_rspamd_only_and_secret(signing: Graph) -> None:
    stage = signing.named("mail-spam-rspamd-secrets")
    assert is_secret(stage.inputs["stdin"])
    assert {path: file for path, file in signing.staged("rspamd").items() if path.endswith(".private")} == {
        "/etc/rspamd/dkim/example.org.mail.private": ("0640 root:_rspamd", PRIVATE_KEY),
        "/etc/rspamd/dkim/example.org.mail-ed25519.private": ("0640 root:_rspamd", f"{ED25519_SEED}\n"),
    }
    assert is_secret(signing.named(RSPAMD).inputs["stdin"])


def test_the_self_check_looks_at_both_keys(signing: Graph) -> None:
    assert signing.named("mail-check").text("stdin") == "example.org mail\nexample.org mail-ed25519\n"


def test_another_signer_leaves_the_rsa_key_and_its_record_alone(graph: Graph, signing: Graph) -> None:
    for name in (KEYS[0], RECORDS[0]):
        assert signing.named(name).urn == graph.named(name).urn
        assert signing.named(name).inputs == graph.named(name).inputs
