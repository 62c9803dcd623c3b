"""Mail handed to Dovecot as Postfix does it, by LMTP: for what shall not depend on the way there."""

import json
from email.message import EmailMessage

from model import constants
from tests.e2e.conftest import Host

_LMTP = """
import json, smtplib, sys
work = json.load(sys.stdin)
with smtplib.LMTP(work["socket"]) as client:
    client.ehlo()
    client.mail(work["sender"])
    code, said = client.rcpt(work["recipient"])
    if code == 250:
        code, said = client.data(work["text"])
print(json.dumps([code, said.decode()]))
"""


def deliver(host: Host, message: EmailMessage, *, recipient: str | None = None) -> tuple[int, str]:
    """Deliver a message to its To address or to `recipient`; return code and text of the reply."""
    work = {
        "socket": f"{constants.POSTFIX_QUEUE}/{constants.LMTP_SOCKET}",
        "sender": str(message["From"]),
        "recipient": recipient or str(message["To"]),
        "text": message.as_string(),
    }
    code, said = json.loads(host.run("python3", "-c", _LMTP, content=json.dumps(work)))
    return code, said
