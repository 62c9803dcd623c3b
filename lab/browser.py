"""A real browser without a screen, which knows the names of the lab and trusts its certificate authority.

It can reach nothing else: every other name is unknown to it.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

from lab import acme, packages

_SIZE = (1000, 1400)
"""Pixels."""


@contextmanager
def browser(names: Mapping[str, str]) -> Iterator[webdriver.Chrome]:
    """Start Chromium with a profile of its own, and addresses (IPv4) by host name; nothing of it stays."""
    packages.install_missing(packages.BROWSER)
    with tempfile.TemporaryDirectory(prefix="mailhost-browser-") as folder:
        home = Path(folder)
        _trust(home / ".pki" / "nssdb")
        rules = [*(f"MAP {name} {address}" for name, address in names.items()), "MAP * ~NOTFOUND"]
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(home / "downloads")})
        for argument in (
            "headless=new",
            "no-sandbox",  # it does not run as root otherwise, and opens only pages of the lab
            "no-proxy-server",
            "disable-background-networking",
            f"user-data-dir={home / 'profile'}",
            f"host-resolver-rules={','.join(rules)}",
            "window-size={},{}".format(*_SIZE),
        ):
            options.add_argument(f"--{argument}")
        service = webdriver.ChromeService("/usr/bin/chromedriver", env={**os.environ, "HOME": folder})
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield driver
        finally:
            driver.quit()


def downloads(driver: webdriver.Chrome) -> Path:
    """Return the folder into which this browser saves files."""
    return Path(driver.capabilities["chrome"]["userDataDir"]).parent / "downloads"


def _trust(database: Path) -> None:
    """Make a certificate database (NSS, the one Chromium reads) with the lab's issuing roots."""
    database.mkdir(parents=True)
    at = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*at, "-N", "--empty-password"], check=True, capture_output=True)
    end = "-----END CERTIFICATE-----\n"
    for number, root in enumerate(acme.issuing_roots().split(end)[:-1]):
        add = [*at, "-A", "-n", f"lab {number}", "-t", "C,,"]
        subprocess.run(add, check=True, capture_output=True, input=(root + end).encode())
