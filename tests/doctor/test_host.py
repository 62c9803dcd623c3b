"""The script that runs on the host, here: what it prints is what the judges read."""

import hashlib
import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

import doctor
from doctor import checks
from doctor.finding import State
from doctor.judge import host as judge_host
from doctor.observe import host, web
from model import cloudflare
from tests.doctor import seen

SCRIPT = Path(doctor.__file__).parent.parent / "host" / "mailhostctl" / "facts.py"


def run(**changes: object) -> host.Facts:
    asked = {"port25": [], "ipv6": False, "names": [], "certificate": "/none", "timeout": 1, **changes}
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-", json.dumps(asked)],
        input=SCRIPT.read_text(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return host.facts(host.Done(status=done.returncode, out=done.stdout, said=done.stderr, started=started))


def test_the_script_answers_on_any_machine() -> None:
    facts = run()
    assert facts.error == ""
    assert {"python", "release", "memory", "disk", "listeners", "managed", "port25", "names"} <= facts.values.keys()
    assert not {"fingerprint", "drift"} & facts.values.keys()
    assert abs(facts.skew) < 30


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listener_is_named_with_address_and_program(family: socket.AddressFamily, address: str) -> None:
    try:
        listener = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("this machine lacks the address family")
    with listener:
        number = listener.getsockname()[1]
        (entry,) = [entry for entry in run().values["listeners"] if entry["port"] == number]
    assert entry["address"] == address
    assert entry["program"]


def test_the_certificates_digest_is_that_of_its_der(tmp_path: Path) -> None:
    der = seen.certificate()
    file = tmp_path / "fullchain.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(der) + ssl.DER_cert_to_PEM_cert(seen.certificate(serial=2)))
    digest = run(certificate=str(file)).values["fingerprint"]
    assert digest == hashlib.sha256(der).hexdigest()


def test_a_mail_server_that_cannot_be_reached_is_an_answer() -> None:
    facts = run(port25=["127.0.0.1"], names=["localhost"])
    (tried,) = facts.values["port25"]
    assert tried["family"] == "IPv4"
    assert bool(tried["greeting"]) != bool(tried["error"])
    assert facts.values["names"] == {"localhost": ["127.0.0.1"]}


@pytest.mark.parametrize(
    ("status", "out", "said", "cause"),
    [
        (127, "", "bash: python3: command not found", "python"),
        (1, "", "ModuleNotFoundError: No module named 'json'", "python"),  # python3-minimal
        (1, "", "sudo: a password is required", "sudo"),
        (1, "", "", "other"),
        (0, "welcome!", "", "other"),
    ],
)
def test_what_comes_instead_of_facts_has_a_cause(status: int, out: str, said: str, cause: str) -> None:
    facts = host.facts(host.Done(status=status, out=out, said=said, started=0))
    assert facts.cause == cause
    assert facts.error


@pytest.mark.parametrize(
    ("document", "found", "status"),
    [
        ({"result": [{"status": "active", "name_servers": ["Ana.ns.cloudflare.com"]}]}, True, "active"),
        ({"result": {"status": "pending"}}, True, "pending"),
        ({"result": []}, False, ""),
        ({"result": None}, False, ""),
        ([], False, ""),
    ],
)
def test_cloudflares_answers_are_read(document: object, found: bool, status: str) -> None:
    zone = web.parse_zone("example.com", document)
    assert (zone.found, zone.status) == (found, status)


@pytest.mark.parametrize(("backlog", "said"), [(None, "refused"), (1, "timeout")])
def test_an_api_that_refuses_or_is_silent_is_named_within_seconds(backlog: int | None, said: str) -> None:
    # The provider retries the former in silence for three minutes, and waits for the latter for ever.
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if backlog is not None:
            server.listen(backlog)
        api = cloudflare.Access(url=f"http://127.0.0.1:{server.getsockname()[1]}/", token=SecretStr("x" * 40))
        started = time.monotonic()
        zone = web.zone("example.com", None, api=api, timeout=1)
    assert time.monotonic() - started < 5
    assert zone.error == said
    finding = judge_host.zone(zone)
    assert (finding.state, finding.check, finding.found) == (State.FAILED, checks.ZONE, said)


def test_without_a_token_cloudflare_is_not_asked() -> None:
    zone = web.zone("example.com", None, api=cloudflare.Access(url="https://api.invalid", token=None), timeout=1)
    assert "apiToken" in zone.error
