"""What monitoring reads: pages of figures, and the daily digest."""

from collections.abc import Sequence

import pulumi

from components.service import Service, ServiceArgs, ServiceHost
from model import digest, metrics
from model.frozen import frozen


@frozen
class MetricsArgs:
    """Inputs of `Metrics` and `Digest`."""

    host: ServiceHost
    after: Sequence[pulumi.Resource]
    """What is looked at runs, and its users and groups exist."""


class Metrics(Service):
    """Owns the Postfix exporter's arguments, rsyslog's rule for the mail log, and mailhost-metrics.socket."""

    def __init__(self, name: str, args: MetricsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Metrics",
            name,
            ServiceArgs(
                host=args.host,
                service="metrics",
                files=metrics.files(args.host.settings),
                health=metrics.health(args.host.settings),
                after=args.after,
            ),
            opts,
        )


class Digest(Service):
    """Owns mailhost-digest.timer, which writes to the postmaster once a day."""

    def __init__(self, name: str, args: MetricsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "mailhost:index:Digest",
            name,
            ServiceArgs(
                host=args.host,
                service="digest",
                files=digest.files(args.host.settings),
                health=digest.health(args.host.settings),
                after=args.after,
            ),
            opts,
        )
