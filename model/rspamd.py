"""rspamd's files: what it judges and how, who is counted, and the sockets Postfix and Dovecot ask through."""

from pathlib import PurePosixPath
from typing import Final, TypedDict

from model import constants
from model.dkim import ed25519_selector
from model.domains import ServedDomain
from model.files import ConfigFile, Nothing, render
from model.frozen import frozen
from model.settings import Settings

SOCKET: Final = f"{constants.POSTFIX_QUEUE}/{constants.RSPAMD_SOCKET}"
LOCAL: Final = "/etc/rspamd/local.d"
"""Files here are merged into the package's sections, those in override.d replace values of them."""
OVERRIDE: Final = "/etc/rspamd/override.d"
KEYS: Final = "/etc/rspamd/dkim"
SENDER_LOGINS: Final = "/etc/postfix/sender_logins"
"""Postfix's table of who may send as whom."""
SUBMITTED: Final = "SUBMITTED_AS_ALLOWED"
"""Our own check of submitted mail: From header and number of recipients."""
FORGED: Final = (
    "Authentication-Results",
    "X-Spam",
    "X-Spam-Bar",
    "X-Spam-Flag",
    "X-Spam-Level",
    "X-Spam-Score",
    "X-Spam-Status",
    "X-Spamd-Result",
)
"""Headers only this host may add to mail it delivers."""


class OptionsContext(TypedDict):
    """What templates/rspamd/options.inc.j2 needs."""

    resolver: str


class RedisContext(TypedDict):
    """What templates/rspamd/redis.conf.j2 needs."""

    redis: str


class SocketContext(TypedDict):
    """What templates that name one socket need."""

    socket: str


class ControllerContext(TypedDict):
    """What templates/rspamd/worker-controller.inc.j2 needs."""

    learn_socket: str
    vmail: str
    page: bool
    """Whether there is a password for the page on localhost."""
    port: int


class PasswordContext(TypedDict):
    """What templates/rspamd/controller-password.inc.j2 needs. Secret."""

    password: str


class ActionsContext(TypedDict):
    """What templates/rspamd/actions.conf.j2 needs: scores."""

    greylist: str
    junk: str
    reject: str


class HeadersContext(TypedDict):
    """What templates/rspamd/milter_headers.conf.j2 needs."""

    forged: tuple[str, ...]


class BayesContext(TypedDict):
    """What templates/rspamd/classifier-bayes.conf.j2 needs."""

    autolearn_spam: str


class BlocklistsContext(TypedDict):
    """What templates/rspamd/rbl.conf.j2 needs."""

    blocklists: bool


class SettingsContext(TypedDict):
    """What templates/rspamd/settings.conf.j2 needs."""

    symbols: tuple[str, ...]
    """The only checks that mail of logged-in people passes."""
    signs: bool


class SubmittedContext(TypedDict):
    """What templates/rspamd/rspamd.local.lua.j2 needs."""

    symbol: str
    sender_logins: str


@frozen
class Limits:
    """How much one login may send an hour."""

    messages: int
    recipients: int
    pause: int
    """Seconds until a full bucket takes one more message."""


class OverrideContext(TypedDict):
    """What templates/rspamd/rspamd.conf.local.override.j2 needs."""

    limits: Limits | None
    blocklists: bool


@frozen
class SigningKeys:
    """Where a domain's two private DKIM keys lie, and their names in DNS."""

    domain: str
    selector: str
    rsa: str
    selector_ed25519: str
    ed25519: str


class SigningContext(TypedDict):
    """What templates/rspamd/dkim_signing.conf.j2 needs."""

    keys: tuple[SigningKeys, ...]


class VmailContext(TypedDict):
    """What templates/rspamd/sysusers.conf.j2 needs."""

    vmail: str


class FoldersContext(TypedDict):
    """What templates/rspamd/tmpfiles.conf.j2 needs."""

    milter_dir: str
    learn_dir: str
    vmail: str


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return everything rspamd reads beside the package's own files, but for secrets."""
    spam = settings.spam
    socket = SocketContext(socket=SOCKET)
    controller = ControllerContext(
        learn_socket=constants.RSPAMD_LEARN_SOCKET,
        vmail=constants.VMAIL,
        page=spam.controller_password is not None,
        port=constants.RSPAMD_CONTROLLER,
    )
    actions = ActionsContext(greylist=_score(spam.greylist), junk=_score(spam.junk), reject=_score(spam.reject))
    signs = settings.dkim.signer == "rspamd"
    counted = ("RATELIMIT_CHECK", "RATELIMIT_UPDATE") if settings.limits.enabled else ()
    always = (SUBMITTED, *counted, "MILTER_HEADERS")
    judged = SettingsContext(
        symbols=(*always, *(("DKIM_SIGNED",) if signs else ()), *(("CLAM_VIRUS",) if spam.antivirus else ())),
        signs=signs,
    )
    submitted = SubmittedContext(symbol=SUBMITTED, sender_logins=SENDER_LOGINS)
    override = OverrideContext(limits=_limits(settings), blocklists=spam.blocklists)
    redis = RedisContext(redis=constants.REDIS_SOCKET)
    bayes = BayesContext(autolearn_spam=_score(max(spam.reject, 12)))
    folders = FoldersContext(
        milter_dir=str(PurePosixPath(SOCKET).parent),
        learn_dir=str(PurePosixPath(constants.RSPAMD_LEARN_SOCKET).parent),
        vmail=constants.VMAIL,
    )
    rendered = {
        f"{LOCAL}/options.inc": render("rspamd/options.inc.j2", OptionsContext(resolver=constants.RESOLVER)),
        f"{LOCAL}/logging.inc": render("rspamd/logging.inc.j2", Nothing()),
        f"{LOCAL}/redis.conf": render("rspamd/redis.conf.j2", redis),
        f"{LOCAL}/worker-normal.inc": render("rspamd/worker-normal.inc.j2", Nothing()),
        f"{LOCAL}/worker-proxy.inc": render("rspamd/worker-proxy.inc.j2", socket),
        f"{OVERRIDE}/worker-controller.inc": render("rspamd/worker-controller.inc.j2", controller),
        f"{LOCAL}/actions.conf": render("rspamd/actions.conf.j2", actions),
        f"{LOCAL}/milter_headers.conf": render("rspamd/milter_headers.conf.j2", HeadersContext(forged=FORGED)),
        f"{LOCAL}/classifier-bayes.conf": render("rspamd/classifier-bayes.conf.j2", bayes),
        f"{LOCAL}/dmarc.conf": render("rspamd/dmarc.conf.j2", Nothing()),
        f"{LOCAL}/rbl.conf": render("rspamd/rbl.conf.j2", BlocklistsContext(blocklists=spam.blocklists)),
        f"{LOCAL}/settings.conf": render("rspamd/settings.conf.j2", judged),
        "/etc/rspamd/rspamd.local.lua": render("rspamd/rspamd.local.lua.j2", submitted),
        "/etc/rspamd/rspamd.conf.local.override": render("rspamd/rspamd.conf.local.override.j2", override),
        "/etc/systemd/system/rspamd.service.d/mailhost.conf": render("rspamd/rspamd.service.conf.j2", Nothing()),
        "/etc/sysusers.d/mailhost-rspamd.conf": render("rspamd/sysusers.conf.j2", VmailContext(vmail=constants.VMAIL)),
        "/etc/tmpfiles.d/mailhost-rspamd.conf": render("rspamd/tmpfiles.conf.j2", folders),
    }
    if signs:
        signing = SigningContext(keys=tuple(signing_keys(domain, domain.selector) for domain in settings.served))
        rendered[f"{LOCAL}/dkim_signing.conf"] = render("rspamd/dkim_signing.conf.j2", signing)
    if spam.antivirus:
        clamav = SocketContext(socket=constants.CLAMAV_SOCKET)
        rendered[f"{LOCAL}/antivirus.conf"] = render("rspamd/antivirus.conf.j2", clamav)
    return tuple(ConfigFile(path=path, content=content) for path, content in rendered.items())


def signing_keys(domain: ServedDomain, selector: str) -> SigningKeys:
    """Return where a domain's private keys lie: files of their own per selector, so that a new one spares the old.

    They are staged as secrets, 0640 root:_rspamd: the RSA key as PEM, the other as model.dkim.ed25519_seed makes it.
    """
    second = ed25519_selector(selector)
    return SigningKeys(
        domain=domain.name,
        selector=selector,
        rsa=f"{KEYS}/{domain.name}.{selector}.private",
        selector_ed25519=second,
        ed25519=f"{KEYS}/{domain.name}.{second}.private",
    )


def password_file(settings: Settings) -> ConfigFile | None:
    """Return the file with the controller's password hash; none without a password. Secret."""
    password = settings.spam.controller_password
    if password is None:
        return None
    content = render("rspamd/controller-password.inc.j2", PasswordContext(password=password.get_secret_value()))
    return ConfigFile(path=f"{LOCAL}/worker-controller.inc", content=content, mode="0640", owner="root:_rspamd")


def health(settings: Settings) -> tuple[str, ...]:
    """Return the probes a healthy rspamd passes."""
    page = (f"tcp {constants.RSPAMD_CONTROLLER}",) if settings.spam.controller_password else ()
    return "unit rspamd", f"unix {SOCKET}", f"unix {constants.RSPAMD_LEARN_SOCKET}", *page


def _limits(settings: Settings) -> Limits | None:
    limits = settings.limits
    if not limits.enabled:
        return None
    pause = -(-3600 // limits.messages)
    return Limits(messages=limits.messages, recipients=limits.recipients, pause=pause)


def _score(value: float) -> str:
    """Write 6.0 as 6, and 4.5 as it is."""
    return f"{value:g}"
