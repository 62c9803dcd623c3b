"""Faults on purpose, for tests: each is a context, and the lab is whole again when it ends."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from lab import acme, cloudflare, dns, paths


@contextmanager
def second_nameserver_silent() -> Iterator[None]:
    """ns2 answers nothing."""
    dns.stop_second()
    try:
        yield
    finally:
        dns.start_second()


@contextmanager
def second_nameserver_lagging() -> Iterator[None]:
    """ns2 goes on answering what it knew when the context began."""
    old = paths.folder("pdns") / "old.db"
    old.unlink(missing_ok=True)
    with closing(sqlite3.connect(dns.database())) as source, closing(sqlite3.connect(old)) as copy:
        source.backup(copy)
    dns.stop_second()
    try:
        dns.start_second(old)
        yield
    finally:
        dns.stop_second()
        dns.start_second()


@contextmanager
def publication_held(delay: str = "hold") -> Iterator[None]:
    """Changes through Cloudflare's API reach the name servers only after the context (`hold`), or seconds late."""
    file = cloudflare.delay_file()
    file.write_text(delay)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def certificate_authority_stopped() -> Iterator[None]:
    """The ACME server is away; when it is back, its issuing root is a new one."""
    acme.stop()
    try:
        yield
    finally:
        acme.start()
