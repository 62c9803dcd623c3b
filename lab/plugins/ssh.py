"""SSH connections as the official provider makes them: the same attempts, the same words when they fail.

Sources: pulumi-command v1.2.1, provider/pkg/provider/remote/connection.go; golang.org/x/crypto v0.48.0, ssh/client.go
and ssh/client_auth.go; Go's package net. Stricter than the official provider in two ways: a host without a pinned key
is refused, and a host that accepts a connection and then says nothing is given up after `SILENCE_SECONDS`.
"""

import asyncio
import base64
import binascii
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab.plugins.schema import Field, Problem
from lab.plugins.serve import Call, Failure
from lab.plugins.values import Unknown

if TYPE_CHECKING:
    import asyncssh

FIRST_PAUSE: Final = 0.1  # seconds before the second dial
PAUSE_GROWTH: Final = 1.5
LONGEST_PAUSE: Final = 5.0  # seconds
SILENCE_SECONDS: Final = 300
"""The official provider waits for ever: `perDialTimeout` ends with the TCP connection."""

_COMMON: Final[Mapping[str, Field]] = {
    "host": Field(required=True),
    "port": Field(type="number", default=22),
    "user": Field(default="root"),
    "password": Field(secret=True),
    "privateKey": Field(secret=True),
    "privateKeyPassword": Field(secret=True),
    "hostKey": Field(),
    "agentSocketPath": Field(),
    "dialErrorLimit": Field(type="integer", default=10),
    "perDialTimeout": Field(type="integer", default=15),
}
CONNECTION: Final = Field(
    type="object", required=True, secret=True, fields={**_COMMON, "proxy": Field(type="object", fields=_COMMON)}
)


class _Refused(Exception):
    """This dial failed; the next one may not."""


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


async def connect(connection: Mapping[str, Any], call: Call) -> "asyncssh.SSHClientConnection":
    """Connect to the host, through its proxy when it has one. The caller closes it, or the end of the plugin does.

    Raises:
        Failure: the host cannot be reached, is another one, or refuses the login. No command ran.
    """
    proxy = connection.get("proxy")
    if proxy is None:
        return await _dial_with_retries(connection, call, None, "Dial")
    try:
        through = await _dial_with_retries(proxy, call, None, "Dial proxy")
        return await _dial_with_retries(connection, call, through, "Dial")
    except Failure as failure:
        raise Failure(f"proxy: {failure}") from None


async def _dial_with_retries(
    connection: Mapping[str, Any], call: Call, through: "asyncssh.SSHClientConnection | None", what: str
) -> "asyncssh.SSHClientConnection":
    """Try again after any error, a wrong key or a refused login included, as the official provider does."""
    limit = int(connection.get("dialErrorLimit", 10))
    attempt, pause = 0, FIRST_PAUSE
    pinned = _host_key(connection["hostKey"])
    async with _client_keys(connection) as keys:
        while True:
            try:
                return await _dial(connection, pinned, keys, through)
            except _Refused as refused:
                # A limit of 10 failures means an 11th dial; -1 means for ever.
                if 0 <= limit <= attempt:
                    raise Failure(f"after {attempt} failed attempts: {refused}") from None
            attempt += 1
            await call.status(f"{what} {attempt}/{limit if limit >= 0 else 'inf'} failed: retrying")
            await call.pause(pause)
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


async def _dial(
    connection: Mapping[str, Any],
    pinned: "asyncssh.SSHKey",
    keys: Sequence[Any] | None,
    through: "asyncssh.SSHClientConnection | None",
) -> "asyncssh.SSHClientConnection":
    import asyncssh  # noqa: PLC0415 - a third of a second that a preview does not need

    seen: list[asyncssh.SSHKey] = []
    tried = ["none"]
    password = connection.get("password")
    # Each method is tried once. Its answer of None means: go on to the next one.
    left: dict[str, list[Any]] = {
        "publickey": list(keys or ()),
        "password": [] if password is None else [password],
        "keyboard-interactive": [] if password is None else [""],
    }
    offered = {"publickey"} if keys is not None else set()
    offered |= {"password", "keyboard-interactive"} if password is not None else set()

    def answer(method: str) -> Any:
        if method in offered and method not in tried:
            tried.append(method)
        return left[method].pop(0) if left[method] else None

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            del host, addr, port
            seen.append(key)
            return key == pinned

        def public_key_auth_requested(self) -> Any:
            return answer("publickey")

        def password_auth_requested(self) -> str | None:
            return str(found) if (found := answer("password")) is not None else None

        def kbdint_auth_requested(self) -> str | None:
            return str(found) if (found := answer("keyboard-interactive")) is not None else None

        def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str]:
            del name, instructions, lang
            return [str(password)] * len(prompts)

    host, port = connection["host"], int(connection.get("port", 22))
    wire = None if through else await _tcp(host, port, int(connection.get("perDialTimeout", 15)))
    try:
        return await asyncio.wait_for(
            asyncssh.connect(
                host,
                port,
                tunnel=through or (),
                sock=wire,
                config=None,
                client_factory=Client,
                username=connection.get("user", "root"),
                client_keys=None,
                agent_path=None,
                preferred_auth=["publickey", "password", "keyboard-interactive"],
                known_hosts=([], [], []),
                server_host_key_algs=[pinned.get_algorithm()],
                login_timeout=0,
                gss_host=None,
            ),
            SILENCE_SECONDS,
        )
    except TimeoutError:
        raise Failure(
            f"{host}:{port} accepted the connection and has said nothing for {SILENCE_SECONDS} s: the official plugin "
            "would wait for ever"
        ) from None
    except asyncssh.ChannelOpenError as error:
        raise _Refused(f"ssh: rejected: {_REJECTIONS.get(error.code, 'unknown reason')} ({error.reason})") from None
    except (asyncssh.Error, OSError) as error:
        ours = pinned.get_algorithm()
        theirs = [] if through or seen else await _host_key_algorithms(host, port)
        if theirs and ours not in theirs:
            told = f"ssh: no common algorithm for host key; we offered: [{ours}], peer offered: [{' '.join(theirs)}]"
        else:
            told = _handshake_error(error, tried, host, port)
        raise _Refused(f"ssh: handshake failed: {told}") from None


_REJECTIONS: Final = {
    1: "administratively prohibited",
    2: "connect failed",
    3: "unknown channel type",
    4: "resource shortage",
}
"""RFC 4254 section 5.1, in the words of x/crypto."""


async def _host_key_algorithms(host: str, port: int) -> list[str]:
    """What kinds of host key the server has, where it says so: the SSH library here does not tell.

    RFC 4253, sections 4.2 and 7.1.
    """
    with contextlib.suppress(TimeoutError, OSError, _Refused, asyncio.IncompleteReadError, ValueError):
        async with asyncio.timeout(LONGEST_PAUSE):
            reader, writer = await asyncio.open_connection(sock=await _tcp(host, port, 0))
            try:
                writer.write(b"SSH-2.0-Go\r\n")
                # Lines of another kind may come first.
                await reader.readuntil(b"SSH-2.0-")
                await reader.readline()
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
            finally:
                writer.close()
        # Behind the padding's length, the message's number and the cookie: the key exchanges, the host keys.
        at = 18
        at += 4 + int.from_bytes(packet[at : at + 4])
        return packet[at + 4 : at + 4 + int.from_bytes(packet[at : at + 4])].decode().split(",")
    return []


def _handshake_error(error: Exception, tried: Sequence[str], host: str, port: int) -> str:
    import asyncssh  # noqa: PLC0415

    match error:
        case asyncssh.HostKeyNotVerifiable():
            return "ssh: host key mismatch"
        case asyncssh.PermissionDenied() if error.reason.startswith("Permission denied for user"):
            return f"ssh: unable to authenticate, attempted methods [{' '.join(tried)}], no supported methods remain"
        case asyncssh.ConnectionLost():
            return "EOF"
        case asyncssh.DisconnectError():
            return f"ssh: disconnect, reason {error.code}: {error.reason}"
        case OSError():
            return f"read tcp {_address(host, port)}: read: {_words(error)}"
    return str(error)


async def _tcp(host: str, port: int, seconds: int) -> socket.socket:
    """Connect as Go's `net.Dialer` does; no seconds means no limit of our own."""
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise _Refused(f"dial tcp: lookup {host} on {_name_server()}: no such host") from None
    # Go shares the time out among a name's addresses, too.
    share = seconds / len(addresses) if seconds else None
    failed: list[str] = []
    for family, kind, protocol, _, address in addresses:
        where = _address(str(address[0]), port)
        wire = socket.socket(family, kind, protocol)
        wire.setblocking(False)
        try:
            async with asyncio.timeout(share):
                await loop.sock_connect(wire, address)
        except OSError as error:
            wire.close()
            # The kernel's own timeout has a number, ours has none.
            failed.append(f"dial tcp {where}: {f'connect: {_words(error)}' if error.errno else 'i/o timeout'}")
        else:
            return wire
    raise _Refused(failed[0])


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _name_server() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines():
            if line.startswith("nameserver "):
                return _address(line.split()[1], 53)
    return _address("127.0.0.1", 53)


def _host_key(line: str) -> "asyncssh.SSHKey":
    import asyncssh  # noqa: PLC0415

    try:
        return asyncssh.import_public_key(line)
    except asyncssh.KeyImportError:
        raise Failure("failed to parse host key: ssh: no key found") from None


@contextlib.asynccontextmanager
async def _client_keys(connection: Mapping[str, Any]) -> AsyncIterator[list[Any] | None]:
    """The configured private key, else those of the agent, which stays connected because it signs; None without both.

    An agent that is set must answer, even if the private key is used and the agent never asked.
    """
    import asyncssh  # noqa: PLC0415

    pem = connection.get("privateKey")
    keys = None if pem is None else [_private_key(pem, connection.get("privateKeyPassword"))]
    path = connection.get("agentSocketPath") or os.environ.get("SSH_AUTH_SOCK")
    if not path:
        yield keys
        return
    try:
        agent = await asyncssh.connect_agent(path)
    except OSError as error:
        raise Failure(f"dial unix {path}: connect: {_words(error)}") from None
    async with agent:
        yield list(await agent.get_keys()) if keys is None else keys


def _private_key(pem: str, password: str | None) -> "asyncssh.SSHKey":
    import asyncssh  # noqa: PLC0415

    # The official provider reads no encrypted PKCS#8.
    encrypted = "BEGIN ENCRYPTED PRIVATE KEY" not in pem and not _is_readable(pem)
    if password is not None and not encrypted:
        raise Failure("ssh: not an encrypted key")
    try:
        return asyncssh.import_private_key(pem, password)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        text = str(error).lower()
        if "decrypt" in text:
            raise Failure("x509: decryption password incorrect") from None
        protected = "passphrase" in text
        raise Failure("ssh: this private key is passphrase protected" if protected else "ssh: no key found") from None


def _is_readable(pem: str) -> bool:
    import asyncssh  # noqa: PLC0415

    try:
        asyncssh.import_private_key(pem)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        return False
    return True


def _words(error: OSError) -> str:
    # asyncio's own text is another one.
    return (os.strerror(error.errno) if error.errno else str(error) or type(error).__name__).lower()
