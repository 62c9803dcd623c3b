"""The certificates' renewal: a hook that lets the daemons read the new one. Issuing them is a command."""

from typing import TypedDict

from model import web
from model.files import ConfigFile, render
from model.settings import Settings


class HookContext(TypedDict):
    """What templates/letsencrypt/deploy-hook.j2 needs."""

    hostname: str
    web_label: str
    """First label of the web names' certificates; empty without a web server."""


def files(settings: Settings) -> tuple[ConfigFile, ...]:
    """Return the deploy hook. No secrets."""
    web_label = next(iter(web.labels(settings)), "")
    content = render("letsencrypt/deploy-hook.j2", HookContext(hostname=settings.hostname, web_label=web_label))
    return (ConfigFile(path="/etc/letsencrypt/renewal-hooks/deploy/mailhost", content=content, mode="0755"),)
