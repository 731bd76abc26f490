"""What the driver needs of a connection to Redis, whatever the server's form: the seam between pool and cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, TypeVar

from prism_proxy._native.redis.resp import PipelineFull

Reply = Any  # bytes, int, None, or a list of these
Command = tuple[bytes, ...]
KEYS_AT_ONCE = b"1000"  # looked at by one SCAN
REPLICAS_S = 1.0  # within which replicas must have a write
ROOM_S = 0.005  # between two looks whether a full connection has room
ResultT = TypeVar("ResultT")


class NotReplicated(Exception):  # noqa: N818 - a state rather than a mistake
    """A write was executed, and fewer replicas have it than were asked for."""


class Commands(Protocol):
    """`sharded`: keys live on several servers, and a command may name keys of one slot only.

    `key` is the key a command is about, without the namespace's prefix. Errors: RespError for an error reply,
    ConnectionLost with `sent`, PipelineFull when there was no room for so long as the settings allow to wait;
    `errors.meaning` knows them all.
    """

    @property
    def sharded(self) -> bool: ...

    @property
    def servers(self) -> int:
        """Servers that a scan has to visit, at present."""
        ...

    async def execute(self, *arguments: bytes, key: bytes, bulk: bool = False, replicas: int = 0) -> Reply:
        """The reply of one command. `bulk`: it is large or slow, and must not hold up others. With `replicas` it is a
        write, and that many have it; NotReplicated when they have not within a second."""
        ...

    async def execute_many(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies of commands whose second argument is their key, in order; what failed is an exception."""
        ...

    async def scan(self, server: int, *arguments: bytes) -> Reply:
        """SCAN on one of the servers."""
        ...


async def when_there_is_room(attempt: Callable[[], ResultT], wait_s: float) -> ResultT:
    """What `attempt` returns, which is made again while it raises PipelineFull, for so many seconds."""
    left = wait_s
    while True:
        try:
            return attempt()
        except PipelineFull:
            if left <= 0:
                raise
        await asyncio.sleep(ROOM_S)
        left -= ROOM_S


async def scanned(commands: Commands, pattern: bytes, *conditions: bytes) -> AsyncIterator[list[bytes]]:
    """The keys that match, of all servers, some at a time; one may come twice."""
    for server in range(commands.servers):
        cursor = b"0"
        while True:
            told, keys = await commands.scan(server, b"SCAN", cursor, b"MATCH", pattern, b"COUNT", KEYS_AT_ONCE,
                                             *conditions)
            yield keys
            cursor = b"%d" % int(told)
            if cursor == b"0":
                break
