"""Commands of one namespace over the pipelined connections.

A command finds a ready connection or fails at once, `ConnectionLost` with `sent` False: waiting for one, and repeating,
is the slot's decision. While the connection is full of commands it waits for room, within bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from prism_proxy._native.keyvalue.redis import RedisStore
from prism_proxy._native.redis.resp import ConnectionLost, FairShare, PipelineFull, RespConnection
from prism_proxy.backends.redis.commands import ROOM_S, Command, Commands, Reply, when_there_is_room
from prism_proxy.backends.redis.replication import Replication

ORDER_S = 0.001  # between two looks whether an earlier write has been answered
_READS = frozenset({b"GET", b"MGET", b"EXISTS", b"PTTL", b"SCAN"})
_SCRIPTS = frozenset({b"EVAL", b"EVALSHA"})


class PipelinedCommands(Commands):
    """`failure` says why there is no connection; `wait_s` is how long a command waits while connections are full,
    and `replicas_s` how long one waits for replicas."""

    sharded = False
    servers = 1

    def __init__(self, store: RedisStore, failure: Callable[[], str], wait_s: float, replicas_s: float = 1.0) -> None:
        self._replication = Replication(replicas_s)
        self._store = store
        self._failure = failure
        self._wait_s = wait_s

    async def execute(self, *arguments: bytes, key: bytes, bulk: bool = False, replicas: int = 0) -> Reply:
        """`key` chooses the connection. Writes of one key are executed in the order in which they were sent."""
        size = sum(map(len, arguments))
        if arguments[0] not in _READS:
            return await self._replicated(arguments, size, bulk, replicas)

        def send() -> asyncio.Future[Reply]:
            connection, share = self._pick(key, bulk)
            return connection.execute(*arguments, share=share)

        return await (await when_there_is_room(send, self._wait_s))

    async def _replicated(self, command: Command, size: int, bulk: bool, replicas: int) -> Reply:
        """The reply to a write, when so many replicas have it."""
        used: list[tuple[RespConnection, FairShare | None]] = []
        reply = await self._write(command, self._keys(command), size, bulk,
                                  lambda connection, share: used.append((connection, share)))
        result = await reply
        if replicas:
            await self._replication.reached(*used[0], replicas)
        return result

    async def execute_many(self, commands: Sequence[Command]) -> list[Reply]:
        """Writes, which are sent in one piece as far as there is room."""
        self._pick(b"", True)
        sent: list[asyncio.Future[Reply]] = []
        try:
            for command in commands:
                sent.append(await self._sent(command))
        except asyncio.CancelledError:
            for reply in sent:
                reply.cancel()
            raise
        return await asyncio.gather(*sent, return_exceptions=True)

    async def _sent(self, command: Command) -> asyncio.Future[Reply]:
        """The reply to come, also where the connection took the command no more."""
        try:
            return await self._write(command, self._keys(command), sum(map(len, command)), True)
        except (ConnectionLost, PipelineFull) as error:
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def _write(
        self, command: Command, keys: list[bytes], size: int, bulk: bool,
        then: Callable[[RespConnection, FairShare | None], None] = lambda connection, share: None,
    ) -> asyncio.Future[Reply]:
        """The reply to come. A write waits for those of its keys that go another way: it must not overtake them, even
        when their callers have given them up."""
        left = self._wait_s
        while True:
            connection, share, buckets, behind = self._store.route(keys, size, bulk)
            for other in behind:
                await self._answered(other)
            if connection is None:
                raise ConnectionLost(self._failure(), False)
            try:
                reply = connection.execute(*command, share=share, buckets=buckets)
                then(connection, share)
                return reply
            except PipelineFull:
                if left <= 0:
                    raise
            await asyncio.sleep(ROOM_S)
            left -= ROOM_S

    async def _answered(self, connection: RespConnection | None) -> None:
        """Wait until what was sent on a connection so far has its replies. ConnectionLost when it never will: once
        there is another in its place, nothing of it is executed any more."""
        sent = connection.sent if connection is not None else 0
        while connection is None or connection.answered < sent:
            if connection is None or not connection.usable:
                raise ConnectionLost(self._failure(), False)
            await asyncio.sleep(ORDER_S)

    def _keys(self, command: Command) -> list[bytes]:
        """Those that a command writes, without the prefix of the namespace."""
        start = len(self._store.prefix)
        if command[0] in _SCRIPTS:
            return [key[start:] for key in command[3:3 + int(command[2])]]
        return [command[1][start:]]

    async def scan(self, server: int, *arguments: bytes) -> Reply:
        if server:
            raise ConnectionLost("there is one server", False)
        return await self.execute(*arguments, key=b"", bulk=True)

    def _pick(self, key: bytes, bulk: bool) -> tuple[RespConnection, FairShare | None]:
        connection, share = self._store.pick(key, bulk)
        if connection is None:
            raise ConnectionLost(self._failure(), False)
        return connection, share
