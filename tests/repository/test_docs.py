"""The documents say what is there: links, files, tests, commands, messages, and the picture of the graph."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from doctor.expected import of_settings
from model.policies import permission_name
from model.records import tlsa_name
from tests.graph.conftest import CONFIG
from tests.graph.harness import Graph, run
from tests.unit.samples import settings

CLONE = Path(__file__).parents[2]
DOCUMENTS = sorted([*CLONE.glob("*.md"), *(CLONE / "docs").rglob("*.md")])
GUIDE = (CLONE / "docs" / "guide.md").read_text(encoding="utf-8")
README = (CLONE / "README.md").read_text(encoding="utf-8")

BOXES = {
    "accounts": "mail-accounts-apply",
    "address": "mail-address-a-host",
    "addressSeen": "mail-host-visible-wait",
    "authority": "mail-certificate-caa",
    "certificate": "mail-certificate-issue",
    "check": "mail-check",
    "dovecot": "mail-dovecot-apply",
    "firewall": "mail-firewall-apply",
    "host": "mail-host-install-helper",
    "key": "mail-example.org-rsa",
    "keyRecord": "mail-example.org-txt",
    "keySeen": "mail-dkim-visible-wait",
    "mx": "mail-example.org-mx",
    "nginx": "mail-nginx-apply",
    "opendkim": "mail-opendkim-apply",
    "packages": "mail-packages-install",
    "policy": "mail-example.org-spf",
    "postfix": "mail-postfix-apply",
    "promise": "mail-example.org-mta-sts-id",
    "spam": "mail-spam-rspamd-apply",
    "webCertificates": "mail-web-certificates-issue",
    "webNames": "mail-example.org-autoconfig",
    "webSeen": "mail-web-visible-wait",
}
"""Each box of the README's picture and the last resource of what it stands for."""


def _commands(text: str) -> list[str]:
    """The lines of all shell blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    return [line.split("  #")[0].rstrip() for block in blocks for line in block.splitlines()]


def _anchors(text: str) -> set[str]:
    """What a heading is called in a link, by the rule of the usual Markdown hosts."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CLONE)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target.read_text(encoding="utf-8")), link


def test_the_first_two_commands_of_the_readme_are_up_and_test() -> None:
    assert _commands(README)[:2] == ["make up", "make test"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CLONE)))
def test_every_file_that_is_named_exists(document: Path) -> None:
    folders = "components|docs|host|lab|model|templates|tests|toolchain|[.]github"
    named = re.findall(rf"`((?:{folders})/[\w./*-]*)", document.read_text(encoding="utf-8"))
    assert [path for path in named if not any(CLONE.glob(path.rstrip("/")))] == []


def test_every_test_that_is_named_exists() -> None:
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    named = {test for text in texts for test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)}
    assert len(named) > 50
    missing = [
        f"{path}::{name}"
        for path, name in sorted(named)
        if f"def {name}(" not in (CLONE / path).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_every_template_is_in_the_guide() -> None:
    templates = [path.relative_to(CLONE) for path in (CLONE / "templates").rglob("*.j2")]
    assert templates
    assert [str(path) for path in templates if f"`{path}`" not in GUIDE] == []


def test_each_step_and_each_deviation_has_a_test() -> None:
    steps, deviations = GUIDE.partition("## The steps")[2].split("## The deviations")
    headed = steps.split("\n### ")[1:]
    assert len(headed) == 20
    assert [step.splitlines()[0] for step in headed if "::test_" not in step] == []
    points = re.split(r"^\d+\. ", deviations, flags=re.M)[1:]
    assert len(points) == 32
    assert [point for point in points if "::test_" not in point] == []


def test_every_message_in_operations_is_one_of_ours() -> None:
    text = (CLONE / "docs" / "operations.md").read_text(encoding="utf-8")
    ours = text.partition("## Messages")[2].partition("Not ours")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", ours, re.M)
    folders = ("components", "model", "host", "templates")
    sources = [path for folder in folders for path in (CLONE / folder).rglob("*") if path.suffix in {".py", ".sh"}]
    # Long messages are written as several adjacent literals.
    code = [re.sub(r'"\n\s*f?"', "", path.read_text(encoding="utf-8")) for path in sources]
    assert len(messages) > 10
    for message in messages:
        parts = [part.strip() for part in message.split("…")]
        assert any(all(part in source for part in parts) for source in code), message


def test_every_record_is_explained() -> None:
    text = " ".join((CLONE / "docs" / "deliverability.md").read_text(encoding="utf-8").split())
    made = settings(
        ipv6="2001:db8:113::13",
        domains={"example.com": {"bimi": {"logo": "https://example.com/logo.svg"}}, "parked.example": {"mail": "none"}},
    )
    published = {(record.name, record.type) for record in of_settings(made)}
    published |= {("mail._domainkey.example.com", "TXT"), ("mail.example.com", "CAA"), (tlsa_name(made), "TLSA")}
    published |= {(permission_name("example.org", "example.com"), "TXT")}
    assert [f"{name} {kind}" for name, kind in sorted(published) if f"`{name} {kind}" not in text] == []


def test_every_setting_that_a_command_sets_exists() -> None:
    reference = (CLONE / "docs" / "configuration.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `([\w.]+)` \|", reference, re.M))
    command = r"pulumi config (?:set|rm)(?: --\w+)* '?([a-z][\w.]+)(?![\w.:])"
    named = {key for document in DOCUMENTS for key in re.findall(command, document.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert named - known == set()


def test_the_pictures_arrows_are_the_graphs() -> None:
    graph: Graph = run(CONFIG, secret_keys=("mailboxes",))
    picture = re.search(r"^```mermaid\n(.*?)^```$", README, re.M | re.S)
    assert picture is not None
    arrows = {
        pair
        for line in picture[1].splitlines()
        for pair in pairwise(re.sub(r"[\[{].*?[\]}]+", "", part).strip() for part in line.split("-->"))
    }
    boxes = set(re.findall(r"^\s+(\w+)|--> (\w+)", picture[1], re.M))
    assert {name for pair in boxes for name in pair if name} == BOXES.keys()
    for earlier, later in arrows:
        assert graph.waits_for(BOXES[later], BOXES[earlier]), f"{earlier} --> {later}"
    # And the other way round: what the graph orders, the picture shows, by some path.
    reached = {(earlier, later) for earlier, later in arrows}
    while more := {(a, d) for a, b in reached for c, d in reached if b == c} - reached:
        reached |= more
    for earlier, first in BOXES.items():
        for later, last in BOXES.items():
            if earlier != later and graph.waits_for(last, first):
                assert (earlier, later) in reached, f"the picture lacks {earlier} --> {later}"


def test_the_changelog_has_the_projects_version() -> None:
    project = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (CLONE / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", changelog, re.M)[:2] == ["Unreleased", project["version"]]
    assert "### Upgrade notes" in changelog
