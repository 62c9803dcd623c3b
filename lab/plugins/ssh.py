"""One SSH connection per operation, to a host whose key is known; dialled again like the official provider does.

Sources: pulumi-command v1.2.1, provider/pkg/provider/remote/connection.go; golang.org/x/crypto/ssh for its words.
Stricter than the official provider in two ways: a host without a pinned key is refused, and a wrong host key fails at
once instead of after all retries, because no retry can heal it.
"""

import base64
import binascii
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from lab.plugins.schema import Field, Problem
from lab.plugins.serve import Call, Failure
from lab.plugins.values import Unknown

if TYPE_CHECKING:
    import asyncssh

FIRST_PAUSE: Final = 0.1  # seconds before the second dial
PAUSE_GROWTH: Final = 1.5
LONGEST_PAUSE: Final = 5.0  # seconds

_COMMON: Final[Mapping[str, Field]] = {
    "host": Field(required=True),
    "port": Field(type="number", default=22),
    "user": Field(default="root"),
    "password": Field(),
    "privateKey": Field(),
    "privateKeyPassword": Field(),
    "hostKey": Field(),
    "agentSocketPath": Field(),
    "dialErrorLimit": Field(type="integer", default=10),
    "perDialTimeout": Field(type="integer", default=15),
}
CONNECTION: Final = Field(
    type="object", required=True, secret=True, fields={**_COMMON, "proxy": Field(type="object", fields=_COMMON)}
)


class _Refused(Exception):
    """This dial failed for a reason that another dial may not meet."""


def connection_problems(connection: Any, at: str = "connection") -> list[Problem]:
    """Refuse a connection (or its proxy) that does not pin the host's key."""
    if not isinstance(connection, Mapping):
        return []
    found = []
    key = connection.get("hostKey")
    if key is None:
        fix = "set it to the host's public key line, as in /etc/ssh/ssh_host_ed25519_key.pub"
        found.append(
            Problem(path=f"{at}.hostKey", reason=f"the host key of {connection.get('host')} is not pinned: {fix}")
        )
    elif not isinstance(key, Unknown) and _key_type(key) is None:
        found.append(
            Problem(path=f"{at}.hostKey", reason=f"{key!r} is not a public key line such as 'ssh-ed25519 AAAA…'")
        )
    if "proxy" in connection:
        found += connection_problems(connection["proxy"], f"{at}.proxy")
    return found


def _key_type(line: str) -> str | None:
    """The type named inside the key itself, when line and key agree; else None (RFC 4253 section 6.6)."""
    name, _, rest = line.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except binascii.Error:
        return None
    length = int.from_bytes(blob[:4], "big")
    return name if blob[4 : 4 + length] == name.encode() else None


@contextlib.asynccontextmanager
async def connected(connection: Mapping[str, Any], call: Call) -> "AsyncIterator[asyncssh.SSHClientConnection]":
    """A connection to the host, closed afterwards.

    Raises:
        Failure: the host cannot be reached, is another one, or lets us not in; nothing was run.
    """
    async with contextlib.AsyncExitStack() as stack:
        proxy = connection.get("proxy")
        through = await stack.enter_async_context(connected(proxy, call)) if proxy else None
        client = await _dial_with_retries(connection, call, through)
        try:
            yield client
        finally:
            client.close()
            await client.wait_closed()


async def _dial_with_retries(
    connection: Mapping[str, Any],
    call: Call,
    through: "asyncssh.SSHClientConnection | None",
) -> "asyncssh.SSHClientConnection":
    limit = int(connection.get("dialErrorLimit", 10))
    target = f"{connection['host']}:{connection.get('port', 22):.0f}"
    attempt, pause = 0, FIRST_PAUSE
    while True:
        try:
            return await _dial(connection, target, through)
        except _Refused as refused:
            # A limit of 10 failures means an 11th dial; -1 means for ever.
            if 0 <= limit <= attempt:
                raise Failure(
                    f"cannot connect to {target}: after {attempt} failed attempts: {refused}; nothing was run"
                ) from None
        attempt += 1
        await call.status(f"Dial {attempt}/{limit if limit >= 0 else 'inf'} failed: retrying")
        await call.pause(pause)
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


async def _dial(
    connection: Mapping[str, Any], target: str, through: "asyncssh.SSHClientConnection | None"
) -> "asyncssh.SSHClientConnection":
    import asyncssh  # noqa: PLC0415 - a third of a second that a preview does not need

    expected = asyncssh.import_public_key(connection["hostKey"])
    served: list[asyncssh.SSHKey] = []

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            del host, addr, port
            served.append(key)
            return key == expected

    async with _client_keys(connection, target) as keys:
        try:
            return await asyncssh.connect(
                connection["host"],
                int(connection.get("port", 22)),
                tunnel=through or (),
                config=None,
                client_factory=Client,
                username=connection.get("user", "root"),
                password=connection.get("password"),
                client_keys=keys or None,
                agent_path=None,
                known_hosts=([], [], []),
                server_host_key_algs=[expected.get_algorithm()],
                connect_timeout=int(connection.get("perDialTimeout", 15)) or None,
                gss_host=None,
            )
        except asyncssh.HostKeyNotVerifiable:
            raise _wrong_key(target, expected, _fingerprint(served[-1]) if served else "an unreadable key") from None
        except asyncssh.KeyExchangeFailed as error:
            if "host key" not in str(error):
                raise _Refused(f"ssh: handshake failed: {error}") from None
            raise _wrong_key(target, expected, f"no {expected.get_algorithm()} key at all") from None
        except asyncssh.PermissionDenied:
            how = "the given keys and password" if connection.get("password") else f"{len(keys)} key(s) offered"
            raise _Refused(f"ssh: the host does not let user {connection.get('user', 'root')} in ({how})") from None
        except asyncssh.Error as error:
            raise _Refused(f"ssh: handshake failed: {error.reason}") from None
        except TimeoutError:
            raise _Refused(f"no answer within {connection.get('perDialTimeout', 15):.0f} s") from None
        except OSError as error:
            raise _Refused(_words(error)) from None


@contextlib.asynccontextmanager
async def _client_keys(connection: Mapping[str, Any], target: str) -> AsyncIterator[list[Any]]:
    """The configured private key, then the agent's; the agent stays connected, because it signs."""
    import asyncssh  # noqa: PLC0415

    keys: list[Any] = []
    if pem := connection.get("privateKey"):
        try:
            keys.append(asyncssh.import_private_key(pem, connection.get("privateKeyPassword")))
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise Failure(f"the privateKey for {target} cannot be used: {error}; nothing was run") from None
    socket = connection.get("agentSocketPath") or os.environ.get("SSH_AUTH_SOCK")
    if not socket:
        yield keys
        return
    try:
        agent = await asyncssh.connect_agent(socket)
    except OSError as error:
        raise Failure(f"the SSH agent at {socket} cannot be reached: {_words(error)}; nothing was run") from None
    async with agent:
        yield [*keys, *await agent.get_keys()]


def _wrong_key(target: str, expected: "asyncssh.SSHKey", served: str) -> Failure:
    return Failure(
        f"the host key of {target} is not the pinned one: expected {_fingerprint(expected)}, served {served}; "
        "nothing was run"
    )


def _fingerprint(key: "asyncssh.SSHKey") -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def _words(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "connection refused"
    return (error.strerror or str(error) or type(error).__name__).lower()
