"""Every check there is, and whether it stops or warns: the one table. docs/doctor.md is made from it."""

from typing import Final, Literal

from model import preflight
from model.preflight import Check

REPAIR: Final = "`make drift STACK=… OPTIONS=--repair`"
UP: Final = f"Run `pulumi up`; if it says there is nothing to do, {REPAIR}."
_HOSTER: Final = "Set the reverse name of the address to the host name in the hosting company's console."


def _stops(name: str, what: str, why: str, fix: str) -> Check:
    return _check("stops", name, what, why, fix)


def _warns(name: str, what: str, why: str, fix: str) -> Check:
    return _check("warns", name, what, why, fix)


def _check(level: Literal["stops", "warns"], name: str, what: str, why: str, fix: str) -> Check:
    return Check(id=name, what=what, why=why, fix=fix, level=level)


# The stack.
DEPLOYED: Final = _warns(
    "stack.deployed",
    "the stack holds every record its settings ask for",
    "Settings that were never applied make every other finding puzzling.",
    "Run `pulumi up`.",
)

# Names.
DELEGATION: Final = _stops(
    "dns.delegation",
    "every name server of the zone answers with authority",
    "A server that does not answer makes mail fail now and then.",
    "Compare the name servers at the registrar with those Cloudflare names for the zone.",
)
RECORD: Final = _stops(
    "dns.record",
    "each record has the wanted content on every name server",
    "Other mail servers decide by these records.",
    UP,
)
TTL: Final = _warns(
    "dns.ttl", "each record has the wanted time to live", "A longer one makes the next move of the host slow.", UP
)
FOREIGN: Final = _warns(
    "dns.foreign",
    "nothing else stands beside an address, MX or CNAME record of ours",
    "A part of the mail goes to the other machine.",
    "Delete the other record at Cloudflare, if nobody needs it.",
)
SPF: Final = _stops(
    "dns.spf",
    "one SPF record, at most 10 look-ups, of which 2 find nothing, and it lets the host's addresses pass",
    "Receivers treat two records or too many look-ups as an error (RFC 7208 §3.2, §4.6.4).",
    "Keep exactly one record that begins with v=spf1, and put what other senders need into it.",
)
DKIM: Final = _stops(
    "dns.dkim",
    "the DKIM key in DNS can be read and is the stack's",
    "A signature that does not verify is worse than none.",
    UP,
)
ROTATION: Final = _warns(
    "dns.dkim-rotation",
    "the DKIM keys are at the stage the settings say, and the next one is not overdue",
    "A key that somebody has copied signs until it is withdrawn.",
    "`make rotate`, then `pulumi up`.",
)
DMARC: Final = _stops(
    "dns.dmarc",
    "one DMARC record that receivers can read",
    "Two records count as none (RFC 7489 §6.6.3).",
    "Delete the record that is not the stack's at Cloudflare.",
)
TLS_REPORTS: Final = _warns(
    "dns.tls-rpt",
    "one TLS-RPT record that senders can read",
    "Two records count as none (RFC 8460 §3), and nobody says when TLS with the host fails.",
    "Delete the record that is not the stack's at Cloudflare.",
)
PERMISSION: Final = _warns(
    "dns.report-permission",
    "a domain of others that gets DMARC reports accepts them",
    "Without its record reporters send it none (RFC 7489 §7.1).",
    'Ask its owner to publish it, with the text "v=DMARC1;", or name another address in reports.addresses.',
)
SILENCE: Final = _stops(
    "dns.silence",
    "a domain without mail has a null MX alone, and an SPF record that lets nobody pass",
    "Else mail to it waits for days at its senders (RFC 7505), and mail in its name is believed.",
    UP,
)
DNSSEC: Final = _warns(
    "dns.dnssec",
    "the zone is signed and validates",
    "Without it nobody can rely on TLSA records, and answers can be forged.",
    "Switch DNSSEC on at Cloudflare (DNS, Settings) and give the DS record to the registrar.",
)
BOGUS: Final = _stops(
    "dns.bogus",
    "validation of the zone does not fail",
    "For every validating resolver the domain does not exist.",
    "Take the DS record out at the registrar, or put in the one Cloudflare shows.",
)

CAA: Final = _stops(
    "dns.caa",
    "CAA records let the host's account have certificates of its name and of the web names",
    "The certificate is not renewed and expires.",
    f"Delete the record that is not the stack's at Cloudflare; {REPAIR} puts a missing one back.",
)

# Addresses.
PTR: Final = _stops(
    "address.ptr",
    "the reverse name of each address is the host name, which leads back to it",
    "Big receivers refuse mail from an address without it.",
    _HOSTER,
)
BLOCKLIST: Final = _stops(
    "address.blocklist",
    "no DNS blocklist names the address",
    "Its readers refuse the host's mail.",
    "Ask the list's own page for the reason and for removal; for a new machine, ask the hoster for another address.",
)
POLICY_LIST: Final = _warns(
    "address.policy-list",
    "no list of dial-up and end-user addresses names the address",
    "Its readers refuse mail that comes directly from such an address.",
    "Remove the address at https://check.spamhaus.org; a mail server with a static address may.",
)

# Ports.
DOOR: Final = _stops(
    "port.open",
    "each service that is on answers on its port and on each address",
    "Nobody reaches the service.",
    "Look at `mailhostctl status` and `ufw status` on the host, and at a firewall of the hosting company.",
)
CLOSED: Final = _warns(
    "port.closed",
    "a service that is off does not answer",
    "Something else listens there, or the firewall was changed by hand.",
    f"Find who listens: `ss -ltnp` on the host; {REPAIR} puts a changed firewall right.",
)
BANNER: Final = _stops(
    "smtp.banner",
    "the greeting and EHLO of port 25 name the host",
    "Receivers compare the name with the reverse name.",
    f"Put Postfix in place again: {REPAIR}.",
)
CLEARTEXT: Final = _stops(
    "tls.cleartext",
    "no port offers a login without TLS, and port 25 none at all",
    "Passwords would cross the network in the clear, or be guessed on port 25.",
    f"Put the service in place again: {REPAIR}.",
)
TLS: Final = _stops(
    "tls.offered",
    "TLS starts on every port",
    "Mail programs refuse to log in, and mail arrives in the clear.",
    "Look at the service's log on the host: `journalctl -u 'postfix*' -u dovecot`.",
)
CHAIN: Final = _stops(
    "tls.chain",
    "the certificate is trusted and names the host",
    "Mail programs warn their users; senders with MTA-STS do not deliver.",
    "Look at `certbot certificates` on the host; `acme.staging` must be off.",
)
SAME: Final = _stops(
    "tls.same",
    "every port serves the same certificate",
    "A service still serves an old one and will expire with it.",
    "Reload the service on the host: `systemctl reload postfix dovecot`.",
)
DAYS: Final = _warns(
    "tls.days",
    "the certificate is valid for three more weeks",
    "certbot renews thirty days before the end; renewal does not work.",
    "Try it on the host: `certbot renew --dry-run`; port 80 must be open and the host name lead there.",
)
FLOOR: Final = _stops(
    "tls.floor",
    "TLS 1.1 and older are refused",
    "They are broken (RFC 8996).",
    f"Put the service in place again: {REPAIR}.",
)
RELAY: Final = _stops(
    "smtp.relay",
    "the host relays for no stranger",
    "Spammers find an open relay within hours, and blocklists soon after.",
    f"Stop Postfix, then {REPAIR}: it puts smtpd_relay_restrictions back.",
)

# Strict transport.
DANE: Final = _stops(
    "dane.match",
    "a TLSA record matches the certificate on port 25, in a signed zone",
    "Senders that use DANE keep their mail (RFC 7672).",
    UP,
)
MTA_STS: Final = _stops(
    "mta-sts.policy",
    "the MTA-STS policy is there, names the host and says what the settings say",
    "Senders that know an older policy do not deliver (RFC 8461).",
    f"Put the web server in place again: {REPAIR}.",
)

# An account.
LOGIN: Final = _stops(
    "account.login",
    "the account can log in on every port that is on",
    "Users cannot read or send.",
    "Try the password by hand; on the host: `journalctl -u dovecot`.",
)
ROUND_TRIP: Final = _stops(
    "mail.round-trip",
    "a mail from the account to itself arrives",
    "Mail is stuck.",
    "Look at the queue and the log on the host: `postqueue -p`, `journalctl -u 'postfix*'`.",
)
SIGNED: Final = _stops(
    "mail.dkim",
    "its DKIM signature verifies with the key in DNS",
    "Receivers take the host's mail for forged.",
    "Look at the signer on the host: `systemctl status opendkim rspamd`; compare dns.dkim.",
)
ALIGNED: Final = _stops(
    "mail.dmarc",
    "it passes DMARC: an aligned signature, and SPF for the host's addresses",
    "Receivers do with it what the domain's policy says.",
    "See the findings mail.dkim, dns.spf and dns.dmarc.",
)

# From the host.
SSH: Final = _stops(
    "host.ssh",
    "the host lets the operator in, with the pinned key",
    "Nothing can be deployed.",
    "Look whether the machine runs, and whether your key is in `authorized_keys` and in the agent (`ssh-add -l`).",
)
SERVICES: Final = _stops(
    "host.services",
    "each service is as the stack says: generation, files, units, firewall rules, packages",
    "What changed by hand is lost at the next apply, or is why something fails.",
    f"`make drift STACK=…` shows it beside what the stack says; {REPAIR} puts it right.",
)
QUEUE: Final = _warns(
    "host.queue",
    "no mail waits in the queue for more than an hour",
    "Something refuses the host's mail, or cannot be reached.",
    "`postqueue -p` on the host names the reason of each.",
)
QUOTA: Final = _warns(
    "host.quota",
    "no mailbox holds more than its quota",
    "Its mail is refused until some is deleted.",
    "Raise the quota: `make mailbox STACK=… ADDRESS=… QUOTA=…`, then `pulumi up`; or let its user delete some.",
)
ON_DISK: Final = _stops(
    "host.certificate",
    "the served certificate is the one on disk",
    "A renewal was not loaded; the old one expires.",
    "Reload the services on the host: `systemctl reload postfix dovecot`.",
)

# Before the first change.
PYTHON: Final = _stops(
    "host.python",
    "the host has a whole python3",
    "The helper and this look need it.",
    "`apt-get install python3` on the host.",
)
RELEASE: Final = _stops(
    "host.release",
    "the host runs the configured system",
    "Files for another release do not fit.",
    "Set `os` to what the host runs, or install the configured release.",
)
PORT25: Final = preflight.PORT25
CLOCK: Final = _stops(
    "host.clock",
    "the clock is right to a minute",
    "Certificates and signatures are judged by time.",
    "`timedatectl set-ntp true` on the host.",
)
MEMORY: Final = preflight.MEMORY
DISK: Final = preflight.DISK
OWNERS: Final = preflight.OWNERS
ZONE: Final = _stops(
    "zone.active",
    "the zone is active at Cloudflare, and the token may read it",
    "Records that nobody asks for help nobody.",
    "Add the domain to the account the token is of, with the rights Zone Read and DNS Edit.",
)
ZONE_DELEGATION: Final = _stops(
    "zone.delegation",
    "the registrar names Cloudflare's name servers, and no others",
    "The world asks other servers.",
    "Put Cloudflare's name servers in at the registrar; it takes up to two days.",
)

DOCTOR: Final = (
    DEPLOYED,
    *(DELEGATION, RECORD, TTL, FOREIGN, SPF, DKIM, ROTATION, DMARC, TLS_REPORTS, PERMISSION),
    *(SILENCE, DNSSEC, BOGUS, CAA),
    *(PTR, BLOCKLIST, POLICY_LIST),
    *(DOOR, CLOSED, BANNER, CLEARTEXT, TLS, CHAIN, SAME, DAYS, FLOOR, RELAY, DANE, MTA_STS),
    *(LOGIN, ROUND_TRIP, SIGNED, ALIGNED),
    *(SSH, MEMORY, SERVICES, QUEUE, QUOTA, ON_DISK),
)
"""What `make doctor` looks at, in the order of its table."""

PREFLIGHT: Final = (
    *(ZONE, ZONE_DELEGATION, SSH, PYTHON, RELEASE, PORT25, CLOCK, MEMORY, DISK, OWNERS),
    *(PTR, BLOCKLIST, POLICY_LIST),
)
"""What `make preflight` looks at."""
