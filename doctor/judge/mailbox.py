"""Judges what happened with an account."""

from collections.abc import Iterator, Mapping, Sequence

from doctor import checks
from doctor.finding import Finding, ok, skipped, wrong
from doctor.observe.mailbox import Login, RoundTrip
from doctor.spf import Verdict


def logins(seen: Sequence[Login]) -> Iterator[Finding]:
    """Judge each login."""
    for login in seen:
        if not login.error:
            yield ok(checks.LOGIN, login.port.label, "logged in")
        elif login.refused:
            yield wrong(checks.LOGIN, login.port.label, login.error, "the server refuses the address or its password")
        else:
            yield wrong(
                checks.LOGIN, login.port.label, login.error, "no session came about; see the findings of this port"
            )


def round_trip(address: str, seen: RoundTrip, policies: Mapping[str, Verdict]) -> Iterator[Finding]:
    """Judge the mail to oneself, and what another server would conclude from it."""
    if seen.seconds is None:
        cause = "it was accepted, but is not there" if seen.sent else "it was not accepted"
        yield wrong(checks.ROUND_TRIP, address, seen.error, cause)
        for check in (checks.SIGNED, checks.ALIGNED):
            yield skipped(check, address, "there is no mail to look at")
        return
    rest = "" if seen.removed else "; it could not be deleted"
    if seen.folder == "INBOX":
        yield ok(checks.ROUND_TRIP, address, f"after {seen.seconds:.1f} s{rest}")
    else:
        yield wrong(
            checks.ROUND_TRIP, address, f"in {seen.folder}{rest}", "the host takes its own user's mail for spam"
        )
    domain = address.rpartition("@")[2]
    yield _signed(address, seen)
    yield _aligned(address, domain, seen, policies)


def _signed(address: str, seen: RoundTrip) -> Finding:
    if not seen.signed_by:
        return wrong(checks.SIGNED, address, "no signature", "the signer did not see the mail")
    if not seen.verified:
        return wrong(
            checks.SIGNED, address, f"d={', '.join(seen.signed_by)}", "no signature verifies with the key in DNS"
        )
    return ok(checks.SIGNED, address, f"d={', '.join(sorted(set(seen.verified)))}")


def _aligned(address: str, domain: str, seen: RoundTrip, policies: Mapping[str, Verdict]) -> Finding:
    """RFC 7489 §3.1: the signing domain is that of From; SPF is judged for every address the host may send from."""
    aligned = [signer for signer in seen.verified if signer == domain]
    if not aligned:
        found = ", ".join(seen.verified) or "no valid signature"
        return wrong(checks.ALIGNED, address, found, f"no valid signature is of {domain}")
    failed = [where for where, verdict in policies.items() if verdict.result not in {"pass", "unknown"}]
    if failed:
        return wrong(checks.ALIGNED, address, "dkim=pass", f"SPF does not pass for {', '.join(failed)}")
    return ok(checks.ALIGNED, address, "dkim=pass spf=pass dmarc=pass")
