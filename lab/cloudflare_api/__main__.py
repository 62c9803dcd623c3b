"""Runs the service: `python -m lab.cloudflare_api --listen HOST:PORT --powerdns URL --key KEY …` until SIGTERM."""

import argparse
import logging
from pathlib import Path

from aiohttp import web

from lab.cloudflare_api.service import Settings, application


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.cloudflare_api", description=__doc__)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--powerdns", required=True, metavar="URL", help="base URL of PowerDNS's web server")
    parser.add_argument("--key", required=True, help="its X-API-Key")
    parser.add_argument("--token", required=True, help="the API token that is let in")
    parser.add_argument("--state", required=True, type=Path, metavar="FILE", help="keeps the records")
    parser.add_argument("--zone", required=True, action="append", metavar="NAME", help="a zone; repeat for more")
    parser.add_argument(
        "--delays",
        type=Path,
        metavar="FOLDER",
        help="a file a zone: seconds, or 'hold', PowerDNS learns of its changes late; ZONE.mute: they are not answered",
    )
    return parser.parse_args()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    host, _, port = arguments.listen.rpartition(":")
    settings = Settings(
        powerdns=arguments.powerdns,
        key=arguments.key,
        token=arguments.token,
        state=arguments.state,
        zones=tuple(arguments.zone),
        delays=arguments.delays,
    )
    web.run_app(application(settings), host=host.strip("[]"), port=int(port), print=None, access_log=None)


main()
