"""What a new users file asks for: sessions end, queued mail goes, and a quota that is too small is told."""

from __future__ import annotations

import json

import pytest

from mailhostctl import containment
from tests.host.scratch import Host

Capsys = pytest.CaptureFixture[str]
USERS = "/etc/dovecot/users"
SHUT = "{CRYPT}!"  # what the program writes for a disabled mailbox
HASH = "{ARGON2ID}$argon2id$v=19$secret-hash"
HEAD = "# Managed by Pulumi from templates/dovecot/users.j2: a change made here is lost at the next `pulumi up`.\n"

# Who is logged in, in the form of `doveadm -f tab who`; the address as its owner typed it.
WHO = "username\t#\tproto\tpids\tips\nBob@example.org\t1\timap\t(812)\t(192.0.2.1)\n"
# Login, sender: bob writes as an alias of his; a program of the host writes as bob; alice has nothing to do with it.
QUEUE = {"A1": ("bob@example.org", "info@example.org"), "B2": ("", "bob@example.org"), "C3": ("alice@x", "alice@x")}


def users(**passwords: str) -> dict[str, str]:
    """The users file of mailboxes at example.org; what follows a space are extra fields."""
    lines = ("{}@example.org:{}::::::{}\n".format(name, *f"{text} ".split(" ")) for name, text in passwords.items())
    return {USERS: HEAD + "".join(lines)}


@pytest.fixture
def running(host: Host) -> Host:
    """A host on which Dovecot and Postfix run, alice and bob have mailboxes, and the queue is QUEUE."""
    host.apply("accounts", users(alice=HASH, bob=HASH))
    (host.fake / "active/dovecot.service").touch()
    queue = host.fake / "queue"
    queue.mkdir()
    for number, (login, sender) in QUEUE.items():
        entry = json.dumps({"queue_name": "deferred", "queue_id": number, "sender": sender, "recipients": []})
        attribute = f"named_attribute: sasl_username={login}\n" if login else ""
        (queue / number).write_text(f"{entry}\n")
        (host.fake / f"{number}.envelope").write_text(
            f"*** ENVELOPE RECORDS deferred/{number} ***\nsender: {sender}\n{attribute}*** MESSAGE CONTENTS x ***\n"
        )
    log = 'echo "${0##*/} $*" >> "$FAKE/log"\n'
    host.play("doveadm", log + f"case \"$*\" in '-f tab who') printf '{WHO}' ;; esac")
    host.play("postqueue", log + 'cat "$FAKE"/queue/* 2>/dev/null; exit 0')
    host.play("postcat", log + 'shift; for id; do cat "$FAKE/$id.envelope"; done')
    host.play("postsuper", log + 'while read -r id; do echo "deleted $id" >> "$FAKE/log"; rm "$FAKE/queue/$id"; done')
    host.play("ss", log)
    host.play("logger", log)
    host.calls()
    return host


@pytest.mark.parametrize("after", [{"alice": HASH, "bob": SHUT}, {"alice": HASH}], ids=["disabled", "removed"])
def test_sessions_and_queued_mail_of_a_shut_mailbox_go(running: Host, capsys: Capsys, after: dict[str, str]) -> None:
    assert running.apply("accounts", users(**after)) == 0
    calls = running.calls()
    assert "doveadm kick bob@example.org" in calls
    assert "doveadm auth cache flush" in calls
    assert [call for call in calls if call.startswith("ss -HKnt")]
    assert [call for call in calls if call.startswith("deleted ")] == ["deleted A1", "deleted B2"]
    # Nobody new gets in while the old sessions go.
    assert calls.index("doveadm auth cache flush") < calls.index("doveadm kick bob@example.org")
    done = "no more logins for bob@example.org; mailboxes whose sessions were ended: 1; queued mails deleted: 2"
    assert done in capsys.readouterr().err
    assert f"logger -t mailhostctl -p auth.notice accounts: {done}" in calls


@pytest.mark.parametrize(
    "after",
    [
        {"alice": HASH, "bob": "{ARGON2ID}$new"},  # a new password ends nothing
        {"alice": HASH, "bob": HASH, "carol": HASH},
        {"alice": HASH, "bob": f"{HASH} userdb_quota_rule=*:bytes=1"},
    ],
    ids=["password", "new", "quota"],
)
def test_other_changes_end_nothing(running: Host, after: dict[str, str]) -> None:
    assert running.apply("accounts", users(**after)) == 0
    calls = running.calls()
    assert "doveadm auth cache flush" in calls  # the old password must not go on working
    assert not [call for call in calls if call.startswith(("doveadm kick", "ss ", "post", "logger"))]


def test_a_mailbox_that_was_shut_before_is_left_alone(running: Host) -> None:
    running.apply("accounts", users(alice=HASH, bob=SHUT))
    running.calls()
    assert running.apply("accounts", users(alice="{ARGON2ID}$new", bob=SHUT)) == 0
    assert not [call for call in running.calls() if call.startswith(("doveadm kick", "post"))]


def test_without_daemons_nothing_is_asked(host: Host) -> None:
    host.apply("accounts", users(bob=HASH))
    host.play("postqueue", 'echo "postqueue: command not found" >&2; exit 127')
    assert host.apply("accounts", users(bob=SHUT)) == 0
    assert host.calls("doveadm") == []


@pytest.mark.parametrize("command", ["doveadm", "postqueue", "postsuper", "ss", "logger"])
def test_what_fails_is_said_and_the_mailbox_stays_shut(running: Host, capsys: Capsys, command: str) -> None:
    running.play(command, "echo 'out of order' >&2; exit 1")
    assert running.apply("accounts", users(alice=HASH, bob=SHUT)) == 0
    # What the logger would have told the journal is on stderr already.
    assert ("out of order" in capsys.readouterr().err) is (command != "logger")
    assert f"bob@example.org:{SHUT}" in str(running.live(USERS))


def shown(host: Host, capsys: Capsys) -> list[str]:
    """What `mailhostctl drift` names, beside that the stack is not known here."""
    capsys.readouterr()
    assert host.run("drift", stdin='{"services": {}, "packages": []}') == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    return [finding["what"] for finding in findings if finding["mend"] == "reapply"]


@pytest.mark.parametrize("command", ["doveadm", "postqueue", "postsuper", "ss"])
def test_what_a_shut_mailbox_may_still_have_is_shown_until_it_is_done(
    running: Host, capsys: Capsys, command: str
) -> None:
    good = (running.fake / "bin" / command).read_text().removeprefix("#!/bin/sh\n")
    running.play(command, "echo 'out of order' >&2; exit 1")
    assert running.apply("accounts", users(alice=HASH, bob=SHUT)) == 0
    assert shown(running, capsys) == ["bob@example.org"]
    assert running.run("reapply", "accounts") == 0
    assert shown(running, capsys) == ["bob@example.org"]
    running.play(command, good)
    running.calls()
    assert running.run("reapply", "accounts") == 0
    assert shown(running, capsys) == []
    assert "doveadm kick bob@example.org" in running.calls()


def test_a_mailbox_that_is_open_again_has_nothing_to_end(running: Host, capsys: Capsys) -> None:
    running.play("ss", "exit 1")
    running.apply("accounts", users(alice=HASH, bob=SHUT))
    assert shown(running, capsys) == ["bob@example.org"]
    assert running.apply("accounts", users(alice=HASH, bob=HASH)) == 0
    assert shown(running, capsys) == []


def test_a_mailbox_that_holds_more_than_its_new_quota_is_named(running: Host, capsys: Capsys) -> None:
    answer = (
        r"Quota name\tType\tValue\tLimit\tPercent\nUser quota\tSTORAGE\t20480\t%s\t1\nUser quota\tMESSAGE\t9\t-\t0\n"
    )
    limits = {"alice": "10240", "bob": "-", "carol": "20480"}
    cases = "".join(f"*{name}@*) printf '{answer % limit}' ;;" for name, limit in limits.items())
    log = 'echo "doveadm $*" >> "$FAKE/log"\n'
    running.play("doveadm", f'{log}case "$*" in *quota*) case "$*" in {cases} esac ;; esac')
    quota = f"{HASH} userdb_quota_rule=*:bytes=10485760"
    assert running.apply("accounts", users(alice=quota, bob=quota, carol=quota)) == 0
    said = capsys.readouterr().err
    assert "warning: alice@example.org holds 20 MiB, more than its quota of 10 MiB" in said
    assert "bob@" not in said
    assert "carol@" not in said
    running.calls()
    # Asked only about quotas that changed.
    running.apply("accounts", users(alice=quota.replace("secret", "other"), bob=quota, carol=quota))
    assert [call for call in running.calls() if "quota" in call] == []


def test_a_users_file_of_somebody_else_shuts_nobody() -> None:
    assert containment.users("bob@example.org:{PLAIN}x::::::\n") == {}
    assert list(containment.users(users(bob=HASH)[USERS])) == ["bob@example.org"]


def test_a_password_is_in_no_representation() -> None:
    assert "secret" not in repr(containment.users(users(bob=HASH)[USERS]))
