"""Commands of one namespace over the pipelined connections.

A command finds a ready connection or fails at once, `ConnectionLost` with `sent` False: waiting for one, and repeating,
is the slot's decision. While the connection is full of commands it waits for room, within bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from prism_proxy._native.keyvalue_redis import RedisStore
from prism_proxy._native.resp import ConnectionLost, FairShare, PipelineFull, RespConnection
from prism_proxy.backends.redis.commands import Command, Commands, Reply, when_there_is_room


class PipelinedCommands(Commands):
    """`failure` says why there is no connection; `wait_s` is how long a command waits while connections are full."""

    sharded = False
    servers = 1

    def __init__(self, store: RedisStore, failure: Callable[[], str], wait_s: float) -> None:
        self._store = store
        self._failure = failure
        self._wait_s = wait_s

    async def execute(self, *arguments: bytes, key: bytes, bulk: bool = False) -> Reply:
        """`key` chooses the connection, so that commands of one key keep their order."""
        size = sum(map(len, arguments))

        def send() -> asyncio.Future[Reply]:
            connection, share = self._pick(key, size, bulk)
            return connection.execute(*arguments, share=share)

        return await (await when_there_is_room(send, self._wait_s))

    async def execute_many(self, commands: Sequence[Command]) -> list[Reply]:
        """They are sent in one piece, as far as there is room."""
        connection, share = self._pick(b"", 0, True)
        sent: list[asyncio.Future[Reply]] = []
        try:
            for command in commands:
                sent.append(await self._sent(connection, share, command))
        except asyncio.CancelledError:
            for reply in sent:
                reply.cancel()
            raise
        return await asyncio.gather(*sent, return_exceptions=True)

    async def _sent(
        self, connection: RespConnection, share: FairShare | None, command: Command
    ) -> asyncio.Future[Reply]:
        """The reply to come, also where the connection took the command no more."""
        try:
            return await when_there_is_room(lambda: connection.execute(*command, share=share), self._wait_s)
        except (ConnectionLost, PipelineFull) as error:
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def scan(self, server: int, *arguments: bytes) -> Reply:
        if server:
            raise ConnectionLost("there is one server", False)
        return await self.execute(*arguments, key=b"", bulk=True)

    def _pick(self, key: bytes, size: int, bulk: bool) -> tuple[RespConnection, FairShare | None]:
        connection, share = self._store.pick(key, size, bulk)
        if connection is None:
            raise ConnectionLost(self._failure(), False)
        return connection, share
