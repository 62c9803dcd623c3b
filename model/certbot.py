"""The certificate's renewal: a hook that lets Postfix and Dovecot read the new one. Issuing it is a command."""

from dataclasses import dataclass

from model.files import ConfigFile, render
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class HookContext:
    """What templates/letsencrypt/deploy-hook.j2 needs."""

    hostname: str


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return the deploy hook. No secrets."""
    content = render("letsencrypt/deploy-hook.j2", HookContext(hostname=settings.hostname))
    return (ConfigFile(path="/etc/letsencrypt/renewal-hooks/deploy/mailhost", content=content, mode="0755"),)
