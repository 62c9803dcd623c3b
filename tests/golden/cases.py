"""The named hosts whose files are kept under tests/golden/<name>. Keys and hashes are made up and open nothing."""

import json

from model.settings import Settings, load

_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJgtZCKxUMcfgYW0JwKjPLhHqSmRoH2yyBPvmXQtUMLT"
_ARGON2ID = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$0123456789abcdefghijklmnopqrstuvwxyzABCDEF0"
_BCRYPT = "{BLF-CRYPT}$2y$05$eH7VL3nnxPwq3JM8SrSWte66toGdogC5kHy6X3oJPM3MUbMfgxqcy"

CASES: dict[str, dict[str, object]] = {
    # Only what must be said; Dovecot 2.4.
    "debian13-minimal": {
        "domain": "example.com",
        "ipv4": "192.0.2.25",
        "hostKey": _HOST_KEY,
        "mailboxes": {"alice@example.com": _ARGON2ID},
    },
    # Everything said, some doors closed, both address families; Dovecot 2.3.
    "debian12-full": {
        "domain": "example.org",
        "hostname": "mx1.example.org",
        "os": "debian12",
        "ipv4": "198.51.100.7",
        "ipv6": "2001:db8:51::7",
        "hostKey": _HOST_KEY,
        "ssh": {"host": "10.1.2.3", "port": 2222},
        "mailboxes": {
            "zoe@example.org": {"password": _BCRYPT, "name": "Zoë O'Hara", "quota": "2G"},
            "bob@example.org": {"password": _ARGON2ID, "enabled": False},
            "postmaster@example.org": _ARGON2ID,
        },
        "dns": {"ttl": 300, "apex": False},
        "dkim": {"selector": "2026a", "rotation": {"generation": 2, "stage": "signing"}},
        "dmarc": {"policy": "reject"},
        "spf": {
            "include": ["_spf.newsletter.example"],
            "addresses": ["192.0.2.128/25", "2001:db8:7::/48"],
            "all": "~all",
        },
        "reports": {"addresses": ["zoe+dmarc@example.org", "org@reports.example"]},
        "domains": {
            "example.org": {
                "bimi": {"logo": "https://example.org/logo.svg", "certificate": "https://example.org/logo.pem"}
            },
            "parked.example": {"mail": "none"},
        },
        "acme": {"staging": True, "contact": "ops@example.net"},
        "services": {"imap": False, "pop3": False, "pop3s": False, "submission": False},
        "clientSetup": {"enabled": False},
        "mtaSts": {"enabled": True},
        "spam": {"greylist": 5, "junk": 7.5, "reject": 20, "blocklists": False, "antivirus": True},
        "limits": {"messages": 50, "recipients": 120},
        "outbound": {
            "policies": {
                ".old.example": "none",
                "bank.example": {"level": "secure", "match": ["mx.bank.example", ".bank.example"]},
                "signed.example": "dane-only",
            },
            "queueDays": 7,
            "bounceDays": 2,
            "ipv6": False,
        },
        "metrics": {"listen": "198.51.100.7", "digest": True},
        "firewall": {"https": False, "allow": [9100, 8443]},
        "messageSizeLimit": 26_214_400,
    },
    # The domain itself is the host; Dovecot 2.3.
    "ubuntu24.04-apex": {
        "domain": "example.net",
        "hostname": "example.net",
        "os": "ubuntu24.04",
        "ipv4": "203.0.113.80",
        "hostKey": _HOST_KEY,
        "mailboxes": {"alice@example.net": _ARGON2ID, "bob@example.net": _BCRYPT},
        "postmaster": "bob@example.net",
        "spam": {"enabled": False},
        "outbound": {"dane": False, "mtaSts": False},
        "limits": {"enabled": False},
        "metrics": {"enabled": False},
    },
    # Several domains, one of them internationalised; aliases, forwards, a catch-all, a disabled mailbox.
    "debian13-domains": {
        "domain": "example.com",
        "ipv4": "192.0.2.25",
        "hostKey": _HOST_KEY,
        "domains": {
            "example.org": {"selector": "2026b", "dmarc": "none", "catchAll": "bob@example.org"},
            "bücher.example": {},
        },
        "mailboxes": {
            "alice@example.com": _ARGON2ID,
            "bob@example.org": {"password": _BCRYPT, "name": "Bob", "forward": ["bob@elsewhere.example"]},
            "carol@example.org": _ARGON2ID,
            "dora@bücher.example": {"password": _ARGON2ID, "forward": ["alice@example.com"], "keepCopy": False},
            "eve@example.com": {"password": _ARGON2ID, "enabled": False},
        },
        "postmaster": "alice@example.com",
        "outbound": {"dane": False},
        "mtaSts": {"mode": "enforce", "maxAgeDays": 60},
        "aliases": {
            "info@example.com": "alice@example.com",
            "team@example.org": ["carol@example.org", "info@example.com"],
        },
    },
}


def settings(case: str) -> Settings:
    """Return the settings of a named host."""
    return load({key: value if isinstance(value, str) else json.dumps(value) for key, value in CASES[case].items()})
