"""Where mail goes and who may send as whom, for arbitrary mailboxes, aliases and forwards."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model import accounts
from model.routes import ROLES
from model.settings import SettingsError, load
from tests.unit.samples import ARGON2ID, raw, settings

FIRST, SECOND = "example.com", "example.net"
LOCALS = ["alice", "bob", "info", "sales", "postmaster"]
OUTSIDE = "friend@elsewhere.example"


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, str]:
    """Accepted ones: each address goes to some that come after it."""
    order = draw(st.permutations([f"{local}@{domain}" for local in LOCALS for domain in (FIRST, SECOND)]))
    count = draw(st.integers(3, len(order)))
    boxes = {address for address in order[:count] if draw(st.booleans())} | {order[count - 1]}
    mailboxes: dict[str, object] = {}
    aliases: dict[str, object] = {}
    for number, address in enumerate(order[:count], start=1):
        targets = draw(st.lists(st.sampled_from([*order[number:count], OUTSIDE]), min_size=1, max_size=3, unique=True))
        if address not in boxes:
            aliases[address] = targets
        elif draw(st.booleans()):
            mailboxes[address] = {"password": ARGON2ID, "forward": targets, "keepCopy": draw(st.booleans())}
        else:
            mailboxes[address] = ARGON2ID
    catch_all = draw(st.one_of(st.just({}), st.builds(lambda to: {"catchAll": to}, st.sampled_from(order[:count]))))
    return raw(mailboxes=mailboxes, postmaster=order[count - 1], aliases=aliases, domains={SECOND: catch_all})


@hypothesis_settings(max_examples=100)
@given(configurations())
def test_what_is_accepted_ends_at_mailboxes_and_is_sent_by_those_who_read_it(configuration: dict[str, str]) -> None:
    made = load(configuration)
    routes, logins = dict(accounts.aliases(made)), dict(accounts.sender_logins(made))
    assert not made.aliases.keys() & made.mailboxes.keys()

    def readers(address: str, way: tuple[str, ...] = ()) -> set[str]:
        """Follow Postfix: an address that goes to itself stays there."""
        assert address not in way
        found: set[str] = set()
        for target in routes.get(address, (address,)):
            found |= {target} if target == address else readers(target, (*way, address))
        return found

    for address in {*routes, *made.mailboxes}:
        assert all(reader in made.mailboxes or reader == OUTSIDE for reader in readers(address)), address
    for address, allowed in logins.items():
        assert set(allowed) <= made.mailboxes.keys()
        if address in made.mailboxes:
            assert allowed == (address,)
        if not any(made.mailboxes[login].forward for login in allowed):
            assert set(allowed) <= readers(address) | ({address} if address in made.mailboxes else set())


@given(configurations())
def test_every_served_domain_has_its_role_addresses(configuration: dict[str, str]) -> None:
    made = load(configuration)
    reached = {address for address, _ in accounts.aliases(made)} | made.mailboxes.keys()
    assert {f"{role}@{domain}" for role in ROLES for domain in (FIRST, SECOND, "localhost")} <= reached


@given(st.permutations(range(6)), st.integers(1, 6))
def test_every_loop_is_found_whatever_its_length_and_order(order: list[int], length: int) -> None:
    ring = {f"a{n}@{FIRST}": f"a{(n + 1) % length}@{FIRST}" for n in range(length)}
    keys = [f"a{n}@{FIRST}" for n in order if n < length]
    with pytest.raises(SettingsError, match=r"is a loop, (a\d@example.com -> )+a\d@example.com;"):
        load(raw(aliases={key: ring[key] for key in keys}))


def test_two_ways_to_one_mailbox_are_no_loop() -> None:
    both = {"team@example.com": ["a@example.com", "b@example.com"]}
    made = settings(aliases={**both, "a@example.com": "alice@example.com", "b@example.com": "alice@example.com"})
    assert dict(accounts.sender_logins(made))["team@example.com"] == ("alice@example.com",)


def test_a_catch_all_takes_nothing_that_exists() -> None:
    boxes = {"alice@example.com": ARGON2ID, "bob@example.com": {"password": ARGON2ID, "forward": ["x@y.example"]}}
    made = settings(mailboxes=boxes, postmaster="alice@example.com", domains={FIRST: {"catchAll": "alice@example.com"}})
    routes = dict(accounts.aliases(made))
    assert routes["@example.com"] == ("alice@example.com",)
    assert routes["alice@example.com"] == ("alice@example.com",)
    assert routes["bob@example.com"] == ("bob@example.com", "x@y.example")
    assert dict(accounts.sender_logins(made))["@example.com"] == ("alice@example.com",)


BOXES = {"alice@example.com": ARGON2ID, "off@example.com": {"password": ARGON2ID, "enabled": False}}


@pytest.mark.parametrize(
    ("changes", "place", "problem"),
    [
        (
            {"aliases": {"A@example.com": "alice@example.com", "a@Example.com": "alice@example.com"}},
            "aliases",
            "a@example.com is listed twice, as 'A@example.com' and 'a@Example.com'",
        ),
        ({"aliases": {"alice@example.com": "x@y.example"}}, "aliases.alice@example.com", "is a mailbox too"),
        (
            {"aliases": {"a@example.com": "off@example.com"}},
            "aliases.a@example.com",
            "goes to off@example.com, which is disabled",
        ),
        (
            {"aliases": {"a@example.com": "gone@example.com"}},
            "aliases.a@example.com",
            "goes to gone@example.com, which does not exist",
        ),
        ({"aliases": {"a@example.com": []}}, "aliases.a@example.com", "goes nowhere"),
        (
            {"aliases": {"a@example.net": "alice@example.com"}},
            "aliases.a@example.net",
            "is in no domain this host serves",
        ),
        (
            {"aliases": {"a@example.com": "b@example.com", "b@example.com": "a@example.com"}},
            "aliases.a@example.com",
            "is a loop, a@example.com -> b@example.com -> a@example.com",
        ),
        (
            {"postmaster": "off@example.com"},
            "postmaster",
            "'off@example.com' is disabled, and postmaster's mail must arrive (RFC 5321 §4.5.1)",
        ),
        (
            {"domains": {"example.net": {"catchAll": "gone@example.net"}}},
            "domains.example.net.catchAll",
            "goes to gone@example.net, which does not exist",
        ),
        (
            {"domains": {"Example.net": {}, "example.NET": {}}},
            "domains",
            "example.net is listed twice, as 'Example.net' and 'example.NET'",
        ),
        (
            {"domains": {"bücher.example": {}, "xn--bcher-kva.example": {}}},
            "domains",
            "xn--bcher-kva.example is listed twice, as 'bücher.example' and 'xn--bcher-kva.example'",
        ),
        ({"domains": {"co.uk": {}}}, "domains.co.uk", "'co.uk' is a public suffix, nobody's own domain"),
        (
            {"domains": {"mail.example.com": {}}},
            "domains.mail.example.com",
            "is the host's own name, which is local, and no domain is both local and virtual",
        ),
        ({"domains": {"example.net": {"selektor": "a"}}}, "domains.example.net.selektor", "unknown key"),
        (
            {"aliases": {"jürgen@example.com": "alice@example.com"}},
            "aliases.jürgen@example.com",
            "'jürgen@example.com' has letters outside ASCII before the @, which most mail servers refuse (RFC 6531)",
        ),
        (
            {"mailboxes": {**BOXES, "alice@example.com": {"password": ARGON2ID, "keepCopy": False}}},
            "mailboxes.alice@example.com",
            "has keepCopy false without forward, so its mail would be lost",
        ),
        (
            {"mailboxes": {**BOXES, "alice@example.com": {"password": ARGON2ID, "forward": ["off@example.com"]}}},
            "mailboxes.alice@example.com.forward",
            "goes to off@example.com, which is disabled",
        ),
        (
            {"mailboxes": {**BOXES, "alice@example.com": {"password": ARGON2ID, "forward": ["alice@example.com"]}}},
            "mailboxes.alice@example.com.forward",
            "alice@example.com is the mailbox itself",
        ),
    ],
)
def test_refused(changes: dict[str, object], place: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(raw(**{"mailboxes": BOXES, "postmaster": "alice@example.com", **changes}))
    (line,) = caught.value.problems
    assert line.startswith(f"{place}: ")
    assert problem in line
    assert ";" in line  # what to do


def test_every_problem_is_named_at_once() -> None:
    aliases = {
        "a@example.com": "off@example.com",
        "b@example.net": "alice@example.com",
        "alice@example.com": "x@y.example",
    }
    with pytest.raises(SettingsError) as caught:
        load(
            raw(
                mailboxes=BOXES,
                aliases=aliases,
                domains={"mail.example.com": {}},
                ipv4="x",
                postmaster="off@example.com",
            )
        )
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "ipv4", "aliases.a@example.com", "aliases.b@example.net", "aliases.alice@example.com", "postmaster",
        "domains.mail.example.com",
    ]  # fmt: skip


def test_an_internationalised_domain_is_served_as_a_label() -> None:
    made = settings(
        domains={"Bücher.example": {}},
        mailboxes={"alice@bücher.example": ARGON2ID},
        aliases={"a@BÜCHER.example": "x@y.example"},
    )
    assert made.served[1].name == "xn--bcher-kva.example"
    assert list(made.mailboxes) == ["alice@xn--bcher-kva.example"]
    assert list(made.aliases) == ["a@xn--bcher-kva.example"]
    assert settings(domain="bücher.example", mailboxes={"a@bücher.example": ARGON2ID}).domain == "xn--bcher-kva.example"


def test_ten_thousand_mailboxes_are_checked_in_no_time() -> None:
    boxes = {f"u{n}@example.com": ARGON2ID for n in range(10_000)}
    aliases = {f"a{n}@example.com": [f"a{n + 1}@example.com", f"u{n}@example.com"] for n in range(9_999)}
    aliases["a9999@example.com"] = ["u1@example.com"]
    configuration = raw(mailboxes=boxes, aliases=json.dumps(aliases), postmaster="u0@example.com")
    started = time.process_time()
    load(configuration)
    assert time.process_time() - started < 1.5
