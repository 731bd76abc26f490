"""The HTTP listener: connections, their limits, and the cache of encoded replies.

A reply to a GET is kept, whole, until anything in the registry changes. What may be kept is the answerer's to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from prism_runtime.address import Address
from prism_runtime.tasks import cancel
from prism_schema_registry.rest.connection import HttpConnection
from prism_schema_registry.rest.http import Reply, Request
from prism_schema_registry.rest.reply_cache import ReplyCache

SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of a body; connections at a time; seconds of silence, for a whole request, and for taking a reply."""

    body: int = 1024 * 1024
    connections: int = 1024
    idle: float = 60
    request: float = 30
    write: float = 30


class HttpServer:
    """`answer` gives the reply to a request, and never raises; `may_read` whether the headers of one allow reading."""

    def __init__(self, answer: Callable[[Request], Awaitable[Reply]], cache: ReplyCache,
                 may_read: Callable[[Mapping[bytes, bytes]], bool], limits: Limits | None = None) -> None:
        self.answer = answer
        self.limits = limits or Limits()
        self.draining = False
        self._cache = cache
        self._may_read = may_read
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def start(self, address: Address, tls: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port. OSError when it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: HttpConnection(self), address.host, address.port, ssl=tls, backlog=1024)
        self._sweeper = loop.create_task(self._sweep())
        return int(self._server.sockets[0].getsockname()[1])

    async def drain(self, deadline_s: float) -> None:
        """Take no connections; let requests end that have begun."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while self._connections:
                    for connection in [found for found in self._connections if not found.busy]:
                        connection.close()
                    await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Cut what is left."""
        await cancel([self._sweeper])
        for connection in list(self._connections):
            connection.abort()

    def cached(self, target: bytes, headers: Mapping[bytes, bytes]) -> bytes | None:
        """The reply to a GET as it is sent, when there is one that the sender may have."""
        return self._cache.get(target) if self._may_read(headers) else None

    def admit(self, connection: HttpConnection) -> bool:
        """False when there are too many connections already."""
        if len(self._connections) >= self.limits.connections or self.draining:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for connection in [found for found in self._connections if found.deadline < now]:
                connection.expire()
