"""Installing what the lab misses starts nothing and leaves somebody else's policy as it was."""

from pathlib import Path

import pytest

from lab import packages


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(packages, "_POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(packages, "_SET_ASIDE", tmp_path / "policy-rc.d.mailhost-lab")
    return tmp_path / "policy-rc.d"


def test_the_policy_forbids_starts_meanwhile_and_goes(policy: Path) -> None:
    with packages._services_off():
        assert policy.read_text().endswith("exit 101\n")
        assert policy.stat().st_mode & 0o111
    assert not policy.exists()


def test_somebody_elses_policy_comes_back(policy: Path) -> None:
    policy.write_text("theirs")
    with packages._services_off():
        assert "exit 101" in policy.read_text()
    assert policy.read_text() == "theirs"


def test_after_a_kill_the_next_command_puts_it_back(policy: Path) -> None:
    policy.write_text("theirs")
    context = packages._services_off()
    context.__enter__()  # and never left
    packages.restore_policy()
    assert policy.read_text() == "theirs"
    packages.restore_policy()
    assert policy.read_text() == "theirs"


def test_mirrors_are_the_outer_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def sources() -> list[tuple[str, str]]:
        return [("https://mirror.example/debian/", "trixie"), ("http://other.example/debian-security", "s")]

    monkeypatch.setattr(packages, "_sources", sources)
    assert packages.mirrors() == ("http://HTTPS///mirror.example/debian", "http://other.example/debian-security")


def test_without_debian_sources_the_public_mirror_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_sources", lambda: [("http://archive.ubuntu.example/ubuntu", "noble")])
    assert packages.mirrors() == ("http://deb.debian.org/debian", "http://deb.debian.org/debian-security")
