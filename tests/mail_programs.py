"""What mail programs take from the documents of the client setup; each reader refuses what its program would refuse."""

import plistlib
import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Literal

_RESPONSE = "{http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006}"
_OUTLOOK = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server as a program would use it."""

    protocol: str
    host: str
    port: int
    security: Literal["TLS", "STARTTLS"]
    user: str


def thunderbird(document: str, address: str) -> list[Server]:
    """Read config-v1.1.xml as Thunderbird does (comm/mail/components/accountcreation/modules/readFromXML).

    Raises:
        ValueError: Thunderbird would throw the document, or one of its servers, away.
    """
    user, _, domain = address.partition("@")
    values = {"%EMAILADDRESS%": address, "%EMAILLOCALPART%": user, "%EMAILDOMAIN%": domain}
    root = ET.fromstring(document)  # noqa: S314 because it is our own
    (provider,) = root.findall("emailProvider")
    if root.tag != "clientConfig" or root.get("version") != "1.1":
        raise ValueError("not a clientConfig 1.1")
    domains = [_hostname(element.text) for element in provider.findall("domain")]
    if _hostname(provider.get("id")) not in domains or domain not in domains:
        raise ValueError(f"needs a <domain> {domain}, and its id among the domains")
    if not (provider.findtext("displayName") or "").strip():
        raise ValueError("no displayName")
    found = []
    for element in (*provider.findall("incomingServer"), *provider.findall("outgoingServer")):
        allowed = ("imap", "pop3") if element.tag == "incomingServer" else ("smtp",)
        if element.get("type") not in allowed or element.findtext("authentication") != "password-cleartext":
            raise ValueError(ET.tostring(element, encoding="unicode"))
        name = element.findtext("username") or ""
        security: dict[str | None, Literal["TLS", "STARTTLS"]] = {"SSL": "TLS", "STARTTLS": "STARTTLS"}
        found.append(
            Server(
                protocol=element.attrib["type"],
                host=_hostname(element.findtext("hostname")),
                port=_port(element.findtext("port")),
                security=security[element.findtext("socketType")],
                user=values.get(name, name),
            )
        )
    return found


def outlook(document: str) -> list[Server]:
    """Read an autodiscover answer as [MS-OXDSCLI] §2.2.4 describes it.

    Raises:
        ValueError: not an answer with settings.
    """
    root = ET.fromstring(document)  # noqa: S314 because it is our own
    account = root.find(f"{_OUTLOOK}Response/{_OUTLOOK}Account")
    if root.tag != f"{_RESPONSE}Autodiscover" or account is None:
        raise ValueError("not an answer to autodiscover")
    if [account.findtext(f"{_OUTLOOK}{name}") for name in ("AccountType", "Action")] != ["email", "settings"]:
        raise ValueError("holds no settings")
    found = []
    for element in account.findall(f"{_OUTLOOK}Protocol"):
        said = {child.tag.removeprefix(_OUTLOOK): child.text or "" for child in element}
        if (said["SSL"], said["SPA"], said["AuthRequired"], said["DomainRequired"]) != ("on", "off", "on", "off"):
            raise ValueError(str(said))
        security: dict[str, Literal["TLS", "STARTTLS"]] = {"SSL": "TLS", "TLS": "STARTTLS"}
        found.append(
            Server(
                protocol=said["Type"].lower(),
                host=_hostname(said["Server"]),
                port=_port(said["Port"]),
                security=security[said["Encryption"]],
                user=said["LoginName"],
            )
        )
    if len({server.protocol for server in found}) != len(found):
        raise ValueError("Outlook takes one server of a kind")
    return found


def apple(document: bytes) -> list[Server]:
    """Read a configuration profile with one mail account (Apple's "Configuration Profile Reference", Mail).

    Raises:
        ValueError: not such a profile. KeyError: a key that must be there is not.
    """
    outer = plistlib.loads(document)
    (inner,) = outer["PayloadContent"]
    if (outer["PayloadType"], inner["PayloadType"]) != ("Configuration", "com.apple.mail.managed"):
        raise ValueError("not a mail profile")
    for payload in (outer, inner):
        uuid.UUID(payload["PayloadUUID"])
        if payload["PayloadVersion"] != 1 or not payload["PayloadDisplayName"]:
            raise ValueError("not a payload")
    if outer["PayloadUUID"] == inner["PayloadUUID"] or outer["PayloadIdentifier"] == inner["PayloadIdentifier"]:
        raise ValueError("two payloads are one")
    found = []
    kinds = {"EmailTypeIMAP": "imap", "EmailTypePOP": "pop3"}
    for side, protocol in (("Incoming", kinds[inner["EmailAccountType"]]), ("Outgoing", "smtp")):
        server = f"{side}MailServer"
        if not inner[f"{server}UseSSL"] or inner[f"{server}Authentication"] != "EmailAuthPassword":
            raise ValueError(f"{side}: no TLS, or no password")
        port = inner[f"{server}PortNumber"]
        found.append(
            Server(
                protocol=protocol,
                host=_hostname(inner[f"{server}HostName"]),
                port=port,
                security="TLS" if port in (993, 995, 465) else "STARTTLS",
                user=inner[f"{server}Username"],
            )
        )
    if inner["EmailAddress"] != found[0].user:
        raise ValueError("the account's address is not its user name")
    return found


def _hostname(text: str | None) -> str:
    """Thunderbird's Sanitizer.hostname."""
    if not text or not re.fullmatch(r"[a-zA-Z0-9._-]+", text):
        raise ValueError(f"{text!r} is not a host name")
    return text.lower()


def _port(text: str | None) -> int:
    if not text or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port")
    return int(text)
