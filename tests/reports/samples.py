"""Reports as they arrive: the forms that Google and Microsoft send, and what a stranger may send instead."""

import gzip
import io
import json
import zipfile
from email.message import EmailMessage

DOMAIN = "example.com"

# A thousand million letters, if entities were expanded.
BOMB = "<!DOCTYPE x [" + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10)) + "]>"


def dmarc(report_id: str = "5962394838838843823", *, org: str = "google.com", rows: str = "") -> str:
    """A DMARC aggregate report as Google writes it: no namespace, a version in some, two rows."""
    return f"""<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
  <version>1.0</version>
  <report_metadata>
    <org_name>{org}</org_name>
    <email>noreply-dmarc-support@google.com</email>
    <extra_contact_info>https://support.google.com/a/answer/2466580</extra_contact_info>
    <report_id>{report_id}</report_id>
    <date_range><begin>1795305600</begin><end>1795391999</end></date_range>
  </report_metadata>
  <policy_published>
    <domain>{DOMAIN}</domain><adkim>r</adkim><aspf>r</aspf><p>quarantine</p><sp>quarantine</sp><pct>100</pct><np>quarantine</np>
  </policy_published>
  {rows or row("203.0.113.13", 12) + row("198.51.100.66", 3, spf="fail", dkim="fail", disposition="quarantine")}
</feedback>
"""


def row(source: str, count: int, *, spf: str = "pass", dkim: str = "pass", disposition: str = "none") -> str:
    return f"""<record>
    <row><source_ip>{source}</source_ip><count>{count}</count>
      <policy_evaluated><disposition>{disposition}</disposition><dkim>{dkim}</dkim><spf>{spf}</spf></policy_evaluated>
    </row>
    <identifiers><header_from>{DOMAIN}</header_from></identifiers>
    <auth_results>
      <dkim><domain>{DOMAIN}</domain><result>{dkim}</result><selector>mail</selector></dkim>
      <spf><domain>{DOMAIN}</domain><result>{spf}</result></spf>
    </auth_results>
  </record>"""


# Microsoft's: schema locations on the root, an envelope, CRLF.
MICROSOFT = (
    dmarc("0b9a1c", org="Enterprise Outlook", rows=row("203.0.113.13", 5))
    .replace(
        "<feedback>",
        '<feedback xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">',
    )
    .replace(
        "<header_from>",
        f"<envelope_to>contoso.example</envelope_to><envelope_from>{DOMAIN}</envelope_from><header_from>",
    )
    .replace("\n", "\r\n")
)

# RFC 8460 appendix B, shortened.
TLS = {
    "organization-name": "Google Inc.",
    "date-range": {"start-datetime": "2026-11-22T00:00:00Z", "end-datetime": "2026-11-22T23:59:59Z"},
    "contact-info": "smtp-tls-reporting@google.com",
    "report-id": "2026-11-22T00:00:00Z_example.com",
    "policies": [
        {
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: testing", "mx: mail.example.com", "max_age: 86400"],
                "policy-domain": DOMAIN,
                "mx-host": ["mail.example.com"],
            },
            "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
            "failure-details": [
                {
                    "result-type": "certificate-expired",
                    "sending-mta-ip": "2001:db8:abcd:12::1",
                    "receiving-mx-hostname": "mail.example.com",
                    "failed-session-count": 100,
                },
                {"result-type": "starttls-not-supported", "failed-session-count": 203},
            ],
        },
        {
            "policy": {"policy-type": "no-policy-found", "policy-domain": DOMAIN},
            "summary": {"total-successful-session-count": 7, "total-failure-session-count": 0},
        },
    ],
}


def gzipped(text: str) -> bytes:
    return gzip.compress(text.encode())


def zipped(text: str, name: str = "report.xml") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return packed.getvalue()


def mail(content: bytes, kind: str = "application/gzip", *, subject: str = f"Report domain: {DOMAIN}") -> EmailMessage:
    """A mail with a report, as RFC 7489 §7.2.1.1 wants its subject."""
    message = EmailMessage()
    message["From"] = "noreply-dmarc-support@google.com"
    message["To"] = f"postmaster@{DOMAIN}"
    message["Subject"] = f"{subject} Submitter: google.com Report-ID: 5962394838838843823"
    main, _, sub = kind.partition("/")
    message.add_attachment(content, maintype=main, subtype=sub, filename="google.com!example.com!1!2.xml.gz")
    return message


def tls_mail(content: bytes | None = None) -> EmailMessage:
    """A mail with a TLS report (RFC 8460 §5.3)."""
    message = EmailMessage()
    message["From"] = "noreply-smtp-tls-reporting@google.com"
    message["Subject"] = f"Report Domain: {DOMAIN} Submitter: google.com Report-ID: <2026.11.22@google.com>"
    message["TLS-Report-Domain"] = DOMAIN
    message["TLS-Report-Submitter"] = "google.com"
    packed = gzipped(json.dumps(TLS)) if content is None else content
    message.add_attachment(
        packed, maintype="application", subtype="tlsrpt+gzip", filename="google.com!example.com.json.gz"
    )
    return message
