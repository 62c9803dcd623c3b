"""Syntax of what an operator writes: domain names, mail and IP addresses, DKIM selectors, SSH host keys.

Everything accepted here is plain lower-case ASCII without spaces, quotes or control characters, so it can be put into
a configuration file, a DNS record or a path as it is.
"""

import base64
import binascii
import importlib.util
import ipaddress
import re
from functools import cache, lru_cache
from pathlib import Path

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_POLICY_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A dot-atom (RFC 5321 §4.1.2) without what Postfix, Dovecot or a Maildir path would read as something else:
# "+" starts an address extension, ":" ends a field of the users file, "/" a path component.
_LOCAL_PART = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_-])?")
# RFC 1918, RFC 6598; documentation ranges (RFC 5737) are as good as any other, and the lab lives there.
_PRIVATE_IPV4 = [
    ipaddress.IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "0.0.0.0/8")
]
_PRIVATE_IPV6 = [ipaddress.IPv6Network(n) for n in ("fc00::/7", "fec0::/10")]
_KEY_TYPE = "ssh-ed25519"
_KEY_PREFIX = b"\0\0\0\x0bssh-ed25519\0\0\0 "  # RFC 8709 §4: string "ssh-ed25519", string of 32 octets
_KEY_OCTETS = 32
_MAX_DOMAIN = 253  # RFC 1035 §2.3.4: 255 octets on the wire
_MAX_LOCAL_PART = 64  # RFC 5321 §4.5.3.1.1
_MAX_ADDRESS = 254  # RFC 5321 §4.5.3.1.3: a path of 256 with its brackets


@lru_cache(maxsize=4096)
def domain_name(value: str) -> str:
    """Return the domain in lower case, an internationalised one as A-labels (RFC 5891 §4).

    Raises:
        ValueError: not a domain name of letters, digits and hyphens with at least two labels (RFC 1123 §2.1).
    """
    name = (value if value.isascii() else _a_labels(value)).lower()
    if name.endswith("."):
        raise ValueError("ends with a dot; leave the dot out")
    labels = name.split(".")
    if len(name) > _MAX_DOMAIN or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is not a domain name; write letters, digits, hyphens and dots, such as example.com")
    if len(labels) == 1 or labels[-1].isdigit():
        raise ValueError("is not a full domain name; write it with its top-level domain, such as example.com")
    return name


def policy_name(value: str) -> str:
    """Return the name of a record with a policy: a domain, whose labels may have underscores (RFC 8552 §1.1).

    Raises:
        ValueError: not such a name; one with macros (RFC 7208 §7) would be another for every mail.
    """
    if "%" in value:
        raise ValueError("has a macro (%), which is not supported; write the name without")
    name = ".".join(label if label.isascii() else _a_labels(label) for label in value.split(".")).lower()
    labels = name.split(".")
    if len(name) > _MAX_DOMAIN or not all(_POLICY_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is not a name in DNS; write it alone, such as _spf.example.com")
    if len(labels) == 1 or labels[-1].isdigit():
        raise ValueError("is not a full name in DNS; write it with its top-level domain, such as _spf.example.com")
    return name


def certificate_name(value: str) -> str:
    """Return a name a certificate may have to have: a host, or with a leading dot all hosts below it.

    Raises:
        ValueError: neither.
    """
    return "." + domain_name(value[1:]) if value.startswith(".") else domain_name(value)


def destination(value: str) -> str:
    """Return whom mail goes to, as Postfix looks it up: a domain, or with a leading dot all domains below it.

    Raises:
        ValueError: neither; a single host (relayhost) has no place here.
    """
    try:
        return certificate_name(value)
    except ValueError as error:
        raise ValueError(f"{error}; a leading dot means all domains below") from None


def registrable_domain(value: str) -> str:
    """Return a domain somebody can own.

    Raises:
        ValueError: malformed, or a public suffix such as co.uk.
    """
    name = domain_name(value)
    if is_public_suffix(name):
        raise ValueError(f"is a public suffix, nobody's own domain; write the name registered below it: yours.{name}")
    return name


def is_public_suffix(name: str) -> bool:
    """Tell whether an ASCII domain is itself a public suffix of the ICANN section (<https://publicsuffix.org/list/>).

    The private section is left out: github.io has an owner, who may well run mail there. The list is searched as text,
    which answers this one question exactly, in less than 1 ms; parsing it takes 70.
    """
    rules = _public_suffixes()
    # The list writes internationalised suffixes in Unicode.
    name = ".".join(_u_label(label) for label in name.split("."))
    _, _, parent = name.partition(".")
    return (
        not parent
        or f"\n{name}\n" in rules
        or f"\n*.{name}\n" in rules  # whose every child is one
        or (f"\n*.{parent}\n" in rules and f"\n!{name}\n" not in rules)
    )


@cache
def _public_suffixes() -> str:
    """Return the ICANN section of the public suffix list as text."""
    spec = importlib.util.find_spec("publicsuffixlist")
    if spec is None or spec.origin is None:  # pragma: no cover - a broken installation
        raise FileNotFoundError("the Python package publicsuffixlist is missing; run: uv sync")
    text = Path(spec.origin).with_name("public_suffix_list.dat").read_text(encoding="utf-8")
    return text.partition("// ===END ICANN DOMAINS===")[0]


def mail_address(value: str) -> str:
    """Return the address in lower case.

    Raises:
        ValueError: not local-part@domain, or with characters a mailbox of this host cannot have.
    """
    local, at, domain = value.lower().rpartition("@")
    if not at:
        raise ValueError("is not a mail address; write it like alice@example.com")
    if not local.isascii():
        raise ValueError(
            "has letters outside ASCII before the @, which most mail servers refuse (RFC 6531); write it without"
        )
    if "+" in local:
        raise ValueError("has a '+', which starts an address extension; name the mailbox without it")
    if len(local) > _MAX_LOCAL_PART or not _LOCAL_PART.fullmatch(local) or ".." in local:
        raise ValueError(
            f"is not a usable mail address; write at most {_MAX_LOCAL_PART} letters, digits and . _ - before the @"
        )
    try:
        address = f"{local}@{domain_name(domain)}"
    except ValueError as error:
        raise ValueError(f"has a domain that {error}") from None
    if len(address) > _MAX_ADDRESS:
        raise ValueError(f"is longer than the {_MAX_ADDRESS} characters SMTP has for an address; choose a shorter one")
    return address


def report_address(value: str) -> str:
    """Return a mail address that programs send reports to: also one with an extension, as report services give out.

    Raises:
        ValueError: not a mail address.
    """
    local, at, domain = value.rpartition("@")
    base, plus, extension = local.partition("+")
    address = mail_address(f"{base}{at}{domain}")
    if not plus:
        return address
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", extension) or len(local) > _MAX_LOCAL_PART:
        raise ValueError("has no usable extension after the '+'; write letters, digits and . _ - there")
    return f"{base}+{extension}@".lower() + address.rpartition("@")[2]


@lru_cache(maxsize=4096)
def organizational_domain(name: str) -> str:
    """Return the domain somebody owns above `name`, or `name` itself (RFC 7489 §3.2)."""
    _, _, parent = name.partition(".")
    return name if is_public_suffix(parent) else organizational_domain(parent)


def selector(value: str) -> str:
    """Return a DKIM selector in lower case.

    Raises:
        ValueError: not one or more labels (RFC 6376 §3.1).
    """
    name = value.lower()
    if len(name) > _MAX_LOCAL_PART or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("is not a DKIM selector; write letters, digits and hyphens, such as mail or 2026a")
    return name


def ipv4(value: str) -> str:
    """Return a public IPv4 address in its canonical form.

    Raises:
        ValueError: another family, malformed, or not reachable from other mail servers.
    """
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        family = "is an IPv6 address; it belongs in ipv6" if ":" in value else "is not an IPv4 address"
        raise ValueError(f"{family}; write four numbers, such as 192.0.2.25") from None
    _public(address, any(address in network for network in _PRIVATE_IPV4))
    return str(address)


def ipv6(value: str) -> str:
    """Return a public IPv6 address in its canonical form (RFC 5952), as DNS services give it back.

    Raises:
        ValueError: another family, malformed, or not reachable from other mail servers.
    """
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        other = re.fullmatch(r"[0-9.]+", value)
        family = "is an IPv4 address; it belongs in ipv4" if other else "is not an IPv6 address"
        raise ValueError(f"{family}; write it like 2001:db8::25, or leave ipv6 out") from None
    if address.ipv4_mapped:
        raise ValueError(f"is an IPv4 address in another form; it belongs in ipv4, as {address.ipv4_mapped}")
    if address.scope_id is not None:
        raise ValueError("has a zone (%), so it is valid on one link only; leave the zone out")
    _public(address, any(address in network for network in _PRIVATE_IPV6))
    return str(address)


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address, private: bool) -> None:
    kind = (
        "unspecified" if address.is_unspecified
        else "loopback" if address.is_loopback
        else "link-local" if address.is_link_local
        else "multicast" if address.is_multicast
        else "private" if private
        else "reserved" if isinstance(address, ipaddress.IPv4Address) and address.is_reserved
        else ""
    )  # fmt: skip
    if kind:
        raise ValueError(
            f"is {kind}, so no other mail server can reach it; "
            "give the host's public address (ssh.host may differ from it)"
        )


def host(value: str) -> str:
    """Return a host to connect to: a name, or an address of either family.

    Raises:
        ValueError: neither.
    """
    try:
        return str(ipaddress.IPv6Address(value) if ":" in value and "%" not in value else ipaddress.IPv4Address(value))
    except ValueError:
        try:
            return domain_name(value)
        except ValueError:
            raise ValueError("is neither an IP address nor a host name") from None


def ip_address(value: str) -> str:
    """Return an IP address of either family in its canonical form.

    Raises:
        ValueError: a name, or malformed.
    """
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("is not an IP address; write 127.0.0.1, or an address that the host has") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError("has a zone (%), so it is valid on one link only; leave the zone out")
    return str(address)


def network(value: str) -> str:
    """Return an IP address or a network in CIDR notation, of either family.

    Raises:
        ValueError: neither.
    """
    try:
        return str(ipaddress.ip_network(value) if "/" in value else ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("is neither an IP address nor a network such as 192.0.2.0/24") from None


def host_key(value: str) -> str:
    """Return type and key of one public key line, without its comment: it means nothing, and a key stays one key.

    Raises:
        ValueError: not exactly one whole ed25519 key (RFC 8709).
    """
    fix = "; get the line with: ssh-keyscan -t ed25519 HOST, and compare it with the host's console"
    words = value.split()
    if _KEY_TYPE in words[1:]:
        raise ValueError(f"has something before {_KEY_TYPE}; leave the host name out")
    if not words or words[0] != _KEY_TYPE:
        other = f"is of type {words[0]}" if words and re.fullmatch(r"[a-z0-9@.-]+", words[0]) else "is not a public key"
        raise ValueError(f"{other}, needed is the host's {_KEY_TYPE} key{fix}")
    if "\n" in value.strip():
        raise ValueError("has several lines; give exactly one key")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error, ValueError):
        blob = b""
    if not blob.startswith(_KEY_PREFIX) or len(blob) != len(_KEY_PREFIX) + _KEY_OCTETS:
        raise ValueError(f"is damaged: not a whole {_KEY_TYPE} key{fix}")
    return f"{_KEY_TYPE} {words[1]}"


def _a_labels(name: str) -> str:
    import idna  # noqa: PLC0415 - 20 ms, which few need

    try:
        # UTS 46 maps what people type, such as capital letters, to what may be registered.
        return idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("is not an internationalised domain name (RFC 5891); write it as it is registered") from None


def _u_label(label: str) -> str:
    try:
        return label.encode("ascii").decode("idna")
    except UnicodeError:
        return label
