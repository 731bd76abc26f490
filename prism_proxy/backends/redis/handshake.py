"""All that must be through on a new connection before the first command of a caller.

    HELLO or AUTH --> SELECT --> what the server says of itself --> a fence against older connections

The fence: commands that were given up with a lost connection may wait in the server's buffers, and be executed after
newer ones once it runs again. Killing that connection by its id makes sure that they never are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from prism_proxy._native.redis.resp import ConnectionLost, RespConnection, RespError

_SECTIONS = (b"server", b"replication", b"persistence")
_SETTINGS = (b"appendonly", b"appendfsync")


class Session(NamedTuple):
    """A connection in the server's terms: which run of the server, and its number there."""

    run: str
    number: int


class Identity(Protocol):
    """What a handshake needs of the pool's options."""

    @property
    def username(self) -> str: ...

    @property
    def password(self) -> str: ...

    @property
    def database(self) -> int: ...

    @property
    def client_name(self) -> str: ...

    @property
    def primary(self) -> bool: ...


async def shake_hands(connection: RespConnection, identity: Identity) -> tuple[Session | None, dict[str, str]]:
    """The session, None where the server does not tell, and its INFO. RespError, or ConnectionLost when unfit."""
    number, _ = await introduce(connection, identity)
    if identity.database:
        await connection.execute(b"SELECT", str(identity.database).encode())
    info = await read_info(connection)
    if info.get("loading") == "1":
        raise ConnectionLost("the server is loading its data", False)
    if identity.primary and info.get("role", "master") != "master":
        raise ConnectionLost("the server is a replica", False)
    run = info.get("run_id")
    return (Session(run, number) if run and number is not None else None), info


async def introduce(connection: RespConnection, identity: Identity) -> tuple[int | None, bool]:
    """Say who we are; the number the server gives the connection, and whether it speaks RESP3."""
    password = identity.password.encode()
    names = (identity.username or "default").encode(), password
    try:
        reply = await connection.execute(b"HELLO", b"3", *((b"AUTH", *names) if password else ()),
                                         b"SETNAME", identity.client_name.encode())
    except RespError as error:
        if error.kind in ("WRONGPASS", "NOAUTH", "NOPERM"):
            raise
        if password:  # a server older than HELLO
            await connection.execute(b"AUTH", *(names if identity.username else (password,)))
        return await _introduce_in_steps(connection, identity), False
    facts = dict(zip(reply[::2], reply[1::2], strict=False)) if isinstance(reply, list) else {}
    number = facts.get(b"id")
    return number if isinstance(number, int) else None, True


async def _introduce_in_steps(connection: RespConnection, identity: Identity) -> int | None:
    """What HELLO does at once, where there is none."""
    try:
        await connection.execute(b"CLIENT", b"SETNAME", identity.client_name.encode())
        number = await connection.execute(b"CLIENT", b"ID")
    except RespError:  # not permitted, or older still
        return None
    return number if isinstance(number, int) else None


async def read_info(connection: RespConnection) -> dict[str, str]:
    """What the server says of itself; less where it does not permit to ask."""
    found: dict[str, str] = {}
    for section in _SECTIONS:
        try:
            text = await connection.execute(b"INFO", section)
        except RespError:
            continue
        for line in text.decode("utf-8", "replace").splitlines():
            name, separator, value = line.partition(":")
            if separator:
                found[name] = value
    for setting in _SETTINGS:
        try:
            pair = await connection.execute(b"CONFIG", b"GET", setting)
        except RespError:
            continue
        if isinstance(pair, list) and len(pair) == 2:
            found[pair[0].decode()] = pair[1].decode()
    return found


async def fence(connection: RespConnection, sessions: Iterable[Session]) -> bool:
    """Make sure that nothing of these lost sessions is executed any more. False when the server does not permit it."""
    for session in sessions:
        try:
            await connection.execute(b"CLIENT", b"KILL", b"ID", b"%d" % session.number)
        except RespError as error:
            if error.kind == "NOPERM":
                return False
    return True
