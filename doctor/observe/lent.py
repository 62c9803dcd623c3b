"""Borrows the postmaster's mailbox for a look: the host lends a second password while one SSH session lasts."""

import asyncio
import contextlib
import secrets
import shlex
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import asyncssh
from argon2 import PasswordHasher
from pydantic import SecretStr

from doctor.observe.host import session
from model.settings import Settings


class LendingError(Exception):
    """The host lends no mailbox: one sentence why."""


@contextlib.contextmanager
def mailbox(settings: Settings, *, timeout: float) -> Iterator[tuple[str, SecretStr]]:
    """Yield an address and a password that is valid until the block ends, however it ends.

    Raises:
        LendingError: the host cannot be reached, or does not lend.
    """
    password = secrets.token_urlsafe(32)
    # Guessing it is hopeless, so the hash need not be slow.
    hashed = "{ARGON2ID}" + PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(password)
    lent: Future[None] = Future()
    loop = asyncio.new_event_loop()
    returned = asyncio.Event()
    keeper = threading.Thread(target=loop.run_until_complete, args=(_hold(settings, hashed, lent, returned, timeout),))
    keeper.start()
    try:
        try:
            lent.result(timeout=3 * timeout)
        except TimeoutError:
            raise LendingError(f"no answer within {3 * timeout:.0f} s") from None
        yield settings.postmaster, SecretStr(password)
    finally:
        loop.call_soon_threadsafe(returned.set)
        keeper.join(timeout)
        if not keeper.is_alive():
            loop.close()


async def _hold(settings: Settings, hashed: str, lent: Future[None], returned: asyncio.Event, timeout: float) -> None:
    command = ["mailhostctl", "lend", settings.postmaster]
    if settings.ssh.user != "root":
        command = ["sudo", "-n", *command]
    try:
        async with session(settings, timeout) as connection, connection.create_process(shlex.join(command)) as process:
            process.stdin.write(f"{hashed}\n")
            if not await process.stdout.readline():
                said = str(await process.stderr.read()).strip().splitlines()[-1:] or ["it ended without a word"]
                lent.set_exception(LendingError(said[0].removeprefix("mailhostctl: ")))
                return
            lent.set_result(None)
            await returned.wait()
            process.stdin.write_eof()
            await asyncio.wait_for(process.wait(), timeout)
    except (asyncssh.Error, OSError, TimeoutError) as error:
        if not lent.done():
            lent.set_exception(LendingError(str(error) or type(error).__name__))
