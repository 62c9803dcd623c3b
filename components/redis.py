"""Redis: what rspamd has learnt and counted."""

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import redis


class Redis(Service):
    """Owns /etc/redis/redis.conf and a Redis that only listens on a socket. Not its data in /var/lib/redis."""

    def __init__(self, name: str, host: ServiceHost, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Redis",
            name,
            ServiceArgs(
                host=host, service="redis", files=redis.files(host.settings), health=redis.health(host.settings)
            ),
            opts,
        )
