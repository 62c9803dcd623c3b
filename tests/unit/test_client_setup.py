"""The documents of the client setup, read as mail programs read them, and what nginx needs for them."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import certbot, firewall, packages, records, web
from model.settings import SettingsError
from tests.mail_programs import Server, apple, outlook, thunderbird
from tests.unit.samples import settings

HOST = "mail.example.com"
ALICE = "alice@example.com"
ALL = {
    "imaps": ("imap", 993, "TLS"),
    "imap": ("imap", 143, "STARTTLS"),
    "pop3s": ("pop3", 995, "TLS"),
    "pop3": ("pop3", 110, "STARTTLS"),
    "submissions": ("smtp", 465, "TLS"),
    "submission": ("smtp", 587, "STARTTLS"),
}
"""Services in the order of preference."""
READING = ("imaps", "imap", "pop3s", "pop3")
choices = st.fixed_dictionaries({name: st.booleans() for name in ALL}).filter(
    lambda on: any(on[name] for name in READING) and (on["submission"] or on["submissions"])
)


def content(name: str, **changes: object) -> str:
    """Return a file by the end of its path."""
    (file,) = [file for file in web.files(settings(**changes)) if file.path.endswith(name)]
    return file.content


def filled(document: str) -> str:
    """Return a document as nginx sends it."""
    values = {"@DOMAIN@": "example.com", "@ADDRESS@": ALICE}
    uuids = {"@UUID@": "bf9a63b5-360e-0c37-1aeb-f9414f5c2085", "@OTHER-UUID@": "0c371aeb-f941-4f5c-2085-bf9a63b5360e"}
    for placeholder, value in (values | uuids).items():
        document = document.replace(placeholder, value)
    assert not re.search(r"@[A-Z-]+@", document)
    return document


def servers(names: list[str]) -> list[Server]:
    made = [ALL[name] for name in names]
    return [Server(protocol=kind, host=HOST, port=port, security=how, user=ALICE) for kind, port, how in made]  # type: ignore[arg-type] # because a table has no literals


def best(names: list[str]) -> list[str]:
    """Return the first service of each protocol."""
    return list({ALL[name][0]: name for name in reversed(names)}.values())[::-1]


@given(on=choices)
def test_programs_read_exactly_the_services_that_are_on(on: dict[str, bool]) -> None:
    names = [name for name in ALL if on[name]]
    assert thunderbird(filled(content("autoconfig.xml", services=on)), ALICE) == servers(names)
    assert outlook(filled(content("autodiscover.xml", services=on))) == servers(best(names))
    reading, sending = best([n for n in names if n in READING])[0], best(names)[-1]
    assert apple(filled(content("mail.mobileconfig", services=on)).encode()) == servers([reading, sending])


@given(on=choices, sieve=st.booleans())
def test_srv_records_name_the_best_door_of_each_protocol(on: dict[str, bool], sieve: bool) -> None:
    made = settings(services=on | {"managesieve": sieve})
    found = records.client_services(made, made.served[0])
    expected = {f"_{name}._tcp.example.com": ALL[name][1] for name in best([n for n in ALL if on[n]])}
    expected |= {"_sieve._tcp.example.com": 4190} if sieve else {}
    assert {record.name: record.data.port for record in found if record.data} == expected
    for record in found:
        assert record.data
        assert record.data.target == HOST
        assert record.priority == record.data.priority == (10 if "pop3" in record.name else 0)
        assert record.content == f"{record.priority} 1 {record.data.port} {HOST}"


def test_every_domain_has_names_of_its_own_and_one_certificate() -> None:
    made = settings(domains={"b.example": {}, "a.example": {}})
    names = [[record.name for record in records.web_names(made, domain)] for domain in made.served]
    assert names[1] == ["autoconfig.a.example", "autodiscover.a.example", "mta-sts.a.example"]
    assert web.lineages(made).splitlines() == [" ".join(three) for three in names]
    assert {(r.type, r.content) for d in made.served for r in records.web_names(made, d)} == {("CNAME", HOST)}


def test_a_further_domain_changes_one_file() -> None:
    before = {file.path: file.sha256 for file in web.files(settings())}
    after = {file.path: file.sha256 for file in web.files(settings(domains={"b.example": {}}))}
    assert [path for path in after if before.get(path) != after[path]] == ["/etc/nginx/mailhost-domains.conf"]
    assert len(before) == len(after) == 8


def test_off_means_no_package_no_port_no_record_and_no_hook() -> None:
    on, off = settings(), settings(clientSetup={"enabled": False})
    assert "nginx" in packages.packages(on)
    assert "nginx" not in packages.packages(off)
    assert 443 in {port.number for port in firewall.ports(on)}
    assert 443 not in {port.number for port in firewall.ports(off)}
    assert "nginx" in certbot.files(on)[0].content
    assert "nginx" not in certbot.files(off)[0].content
    for made, many in ((on, True), (off, False)):
        assert bool(records.web_names(made, made.served[0])) is many
        assert bool(records.client_services(made, made.served[0])) is many


def test_a_host_without_services_to_set_up_has_no_client_setup() -> None:
    closed = {"submission": False, "submissions": False}
    assert not settings(services=closed).client_setup.enabled
    with pytest.raises(SettingsError, match="clientSetup: needs a service to read mail with and one to send it"):
        settings(services=closed, clientSetup={"enabled": True})


@pytest.mark.parametrize(
    "changes", [{"hostname": "autoconfig.example.com"}, {"domains": {"autodiscover.example.com": {}}}]
)
def test_a_name_that_is_needed_cannot_be_something_else(changes: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"^clientSetup: needs auto\w+.example.com for mail programs"):
        settings(**changes)


def test_without_ipv6_nobody_listens_there() -> None:
    v6 = settings(ipv6="2001:db8::1", domains={"b.example": {}})
    lines = [line for file in web.files(v6) for line in file.content.splitlines() if "listen [::]" in line]
    assert len(lines) == 4
    assert not [file.path for file in web.files(settings()) if "[::]" in file.content]


def test_the_page_may_use_its_style_and_nothing_else() -> None:
    page, main = content("index.html"), content("nginx.conf")
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in main
    assert "default-src 'none';" in main
    assert not re.search(r"<script|style=|url\(|@import|\son\w+=", page)


class _Page(HTMLParser):
    """Collects what accessibility tools look for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def test_the_page_is_accessible() -> None:
    page = _Page(content("index.html"))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == len(page.all("caption")) == 1
    assert {label["for"] for label in page.all("label")} == {field["id"] for field in page.all("input")}
    assert all(cell["scope"] for cell in page.all("th"))
    assert [figure["aria-label"] for figure in page.all("figure")] == ["QR code with the address of this page"]


def test_the_page_shows_what_is_on() -> None:
    page = content("index.html", services={"pop3": False, "pop3s": False, "managesieve": False})
    ports = re.findall(r"<td>(\d+)</td><td>(SSL/TLS|STARTTLS)</td>", page)
    assert ports == [("993", "SSL/TLS"), ("143", "STARTTLS"), ("465", "SSL/TLS"), ("587", "STARTTLS")]
    assert "ManageSieve" not in page


def test_no_mailbox_is_named_in_public() -> None:
    assert not [file.path for file in web.files(settings()) if "alice" in file.content]
