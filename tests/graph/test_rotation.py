"""Keys follow each other: visible before it signs, withdrawn after another one does."""

import pulumi
import pytest

from tests.graph.conftest import CONFIG
from tests.graph.harness import Graph, run

OPENDKIM, RSPAMD = "mail-opendkim-apply", "mail-spam-rspamd-apply"
WAIT = "mail-dkim-visible-wait"
SINCE = "mail-dkim-since"
FORMER, NEXT = "mail-example.org-txt", "mail-example.org-txt-2"
KEY, NEXT_KEY = "mail-example.org-rsa", "mail-example.org-rsa-2"
PUBLISHED: dict[str, object] = {"generation": 2, "stage": "published"}


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


def changed(dkim: dict[str, object], *, preview: bool = False, **more: object) -> Graph:
    """The program with other settings than those that made the first key."""
    names: dict[str, dict[str, str | float]] = {
        f"{FORMER}{second}": {"name": f"mail{second}._domainkey.example.org"} for second in ("", "-ed25519")
    }
    state: dict[str, dict[str, str | float]] = {KEY: {"rsaBits": 2048.0}, **names}
    config = CONFIG | {"dkim": dkim} | more
    return run(config, secret_keys=("mailboxes",), preview=preview, exist=[*state, NEXT], state=state)


@pytest.mark.parametrize("preview", [False, True])
def test_another_size_counts_for_the_next_key(caplog: pytest.LogCaptureFixture, preview: bool) -> None:
    kept = changed({"bits": 3072}, preview=preview)
    assert kept.named(KEY).inputs["rsaBits"] == 2048
    (said,) = [record.message for record in caplog.records if "dkim.bits" in record.message]
    assert said == (
        "dkim.bits: 3072 counts for the next key; the one that is in use has 2048 bits (example.org). To replace it "
        "without a loss: make rotate STACK=test START=yes"
    )


def test_the_next_key_has_the_size_that_is_set_and_nothing_more_is_said(caplog: pytest.LogCaptureFixture) -> None:
    kept = changed({"bits": 3072, "rotation": PUBLISHED})
    assert (kept.named(KEY).inputs["rsaBits"], kept.named(NEXT_KEY).inputs["rsaBits"]) == (2048, 3072)
    assert "dkim.bits" not in caplog.text


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(
    ("dkim", "more", "way"),
    [
        ({"selector": "other"}, {}, "pulumi config set --path dkim.selector mail"),
        ({"selector": "other", "signer": "rspamd"}, {}, "pulumi config set --path dkim.selector mail"),
        ({"selector": "other", "rotation": PUBLISHED}, {}, "pulumi config set --path dkim.selector mail"),
        (
            {},
            {"domains": {"example.org": {"selector": "other"}}},
            "pulumi config set --path 'domains[\"example.org\"].selector' mail",
        ),
    ],
)
def test_another_selector_for_a_key_in_use_is_refused(
    dkim: dict[str, object], more: dict[str, object], way: str, preview: bool
) -> None:
    with pytest.raises(pulumi.RunError) as refused:
        changed(dkim, preview=preview, **more)
    assert "mail._domainkey.example.org" in str(refused.value)
    assert way in str(refused.value)
    assert "make rotate STACK=test START=yes" in str(refused.value)


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("stated", [{}, {"generation": 4, "stage": "published"}])
def test_a_leap_of_the_rotation_is_refused_before_anything_is_declared(
    stated: dict[str, object], preview: bool
) -> None:
    done = {"dkim": {"generation": 2, "stage": "signing", "since": "2026-01-01T00:00:00Z"}}
    with pytest.raises(pulumi.RunError, match="cannot follow generation 2 signing"):
        run(CONFIG | {"dkim": {"rotation": stated}}, secret_keys=("mailboxes",), preview=preview, outputs=done)
