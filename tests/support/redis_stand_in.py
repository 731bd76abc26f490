"""What passes for a Redis server, and answers as a test says: what real ones never say, or no faster than told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

GREETINGS = {b"HELLO": b"%0\r\n", b"INFO": b"$0\r\n\r\n", b"CONFIG": b"*0\r\n", b"CLIENT": b"+OK\r\n",
             b"PING": b"+PONG\r\n"}


class RedisStandIn:
    """`answer(command)` is the reply, as bytes of RESP. `ready()` is the loop's time at which it leaves; replies must
    be ready in the order of their commands."""

    def __init__(self, answer: Callable[[list[bytes]], bytes], ready: Callable[[], float] | None = None) -> None:
        self.answer = answer
        self.ready = ready
        self.connections = 0
        self.holding = False
        self._held: list[tuple[asyncio.Transport, list[bytes]]] = []

    async def __aenter__(self) -> RedisStandIn:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def held(self) -> int:
        """Commands without a reply, since it was told to be `holding`."""
        return len(self._held)

    def release(self, reply: bytes | None = None) -> None:
        """Answer all that is held, with these bytes, or the usual ones; or end its connections, with b""."""
        held, self._held, self.holding = self._held, [], False
        for transport, command in held:
            if reply == b"":
                transport.abort()
            else:
                transport.write(self.answer(command) if reply is None else reply)


class _Connection(asyncio.Protocol):
    def __init__(self, server: RedisStandIn) -> None:
        self._server = server
        self._reader = hiredis.Reader()

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        self._transport: asyncio.Transport = transport
        self._server.connections += 1

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            if command[0] in GREETINGS:
                self._transport.write(GREETINGS[command[0]])
            elif self._server.holding:
                self._server._held.append((self._transport, command))
            elif self._server.ready is None:
                self._transport.write(self._server.answer(command))
            else:
                asyncio.get_running_loop().call_at(
                    self._server.ready(), self._transport.write, self._server.answer(command))
