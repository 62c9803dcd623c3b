"""Redis' file: rspamd's memory, on a socket, bounded."""

from typing import Final, TypedDict

from model import constants
from model.files import ConfigFile, render
from model.settings import Settings

MEGABYTES: Final = 96
"""Most Redis keeps: some 400,000 learnt words, and counters. Idle it takes 15 MB."""


class RedisContext(TypedDict):
    """What templates/redis/redis.conf.j2 needs."""

    socket: str
    megabytes: int


def files(settings: Settings) -> tuple[ConfigFile, ...]:  # noqa: ARG001 - the same signature for every daemon
    """Return Redis' configuration, as the package owns it. No secrets."""
    context = RedisContext(socket=constants.REDIS_SOCKET, megabytes=MEGABYTES)
    content = render("redis/redis.conf.j2", context)
    return (ConfigFile(path="/etc/redis/redis.conf", content=content, mode="0640", owner="redis:redis"),)


def health(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001 - the same signature for every daemon
    """Return the probes a healthy Redis passes."""
    return "unit redis-server", f"unix {constants.REDIS_SOCKET}"
