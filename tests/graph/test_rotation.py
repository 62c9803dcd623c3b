"""Keys follow each other: visible before it signs, withdrawn after another one does."""

import pytest

from tests.graph.conftest import CONFIG
from tests.graph.harness import Graph, run

OPENDKIM, RSPAMD = "mail-opendkim-apply", "mail-spam-rspamd-apply"
WAIT = "mail-dkim-visible-wait"
SINCE = "mail-dkim-since"
FORMER, NEXT = "mail-example.org-txt", "mail-example.org-txt-2"


def at(stage: str, signer: str = "opendkim", **rotation: object) -> Graph:
    """The program at a stage of the second key."""
    stated = {"generation": 2, "stage": stage, "grace": "0s", **rotation}
    return run(CONFIG | {"dkim": {"signer": signer, "rotation": stated}}, secret_keys=("mailboxes",))


@pytest.fixture(scope="module")
def signing() -> Graph:
    """The second key signs, the first is published still."""
    return at("signing")


@pytest.fixture(scope="module")
def settled() -> Graph:
    """The first keys are withdrawn; there are two of them."""
    return at("settled", "rspamd", since="2026-01-01T00:00:00Z")


def test_a_published_key_is_waited_for_and_is_not_on_the_host() -> None:
    published = at("published")
    assert published.waits_for(WAIT, NEXT)
    assert published.waits_for(OPENDKIM, WAIT)
    keys = [path for path in published.staged("opendkim") if path.endswith(".private")]
    assert keys == ["/etc/dkimkeys/example.org.mail.private"]


@pytest.mark.parametrize(("later", "earlier"), [(WAIT, NEXT), (WAIT, FORMER), (OPENDKIM, WAIT), (SINCE, OPENDKIM)])
def test_a_key_signs_once_it_is_visible(signing: Graph, later: str, earlier: str) -> None:
    assert signing.waits_for(later, earlier)
    assert not signing.waits_for(earlier, later)


def test_the_former_key_stays_what_it_was(graph: Graph, signing: Graph) -> None:
    for name in (FORMER, "mail-example.org-rsa"):
        assert signing.named(name).urn == graph.named(name).urn
        assert signing.named(name).inputs == graph.named(name).inputs


@pytest.mark.parametrize("second", ["", "-ed25519"])
def test_both_keys_are_withdrawn_last(settled: Graph, second: str) -> None:
    record = settled.named(f"{FORMER}{second}")
    assert record.text("name") == f"mail{second}._domainkey.example.org"
    assert record.text("content") == '"v=DKIM1; p="'
    assert settled.waits_for(record.name, RSPAMD)
    assert settled.waits_for(RSPAMD, WAIT)
    assert not settled.waits_for(WAIT, record.name)


def test_a_withdrawn_key_is_gone(settled: Graph) -> None:
    assert not {seen.name for seen in settled.resources.values()} & {"mail-example.org-rsa", "mail-example.org-ed25519"}
    keys = [path for path in settled.staged("rspamd") if path.endswith(".private")]
    assert {path.rpartition("/")[2] for path in keys} == {
        "example.org.mail-2.private",
        "example.org.mail-2-ed25519.private",
    }


def test_the_outputs_say_what_comes_next(signing: Graph, settled: Graph) -> None:
    assert signing.exports["dkim"]["next"] == "the former key is withdrawn"
    assert settled.exports["dkim"] == {
        "generation": 2,
        "stage": "settled",
        "selectors": {"mail": "withdrawn", "mail-2": "signs"},
        "since": "2026-01-01T00:00:00Z",
        "next": "the next key",
        "due": "when you say so",
    }
