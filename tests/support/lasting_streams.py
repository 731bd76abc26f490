"""A server with one method that streams for as long as its caller wants, over a source that a test feeds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.interfaces.streams import OpenStreams
from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server

PATH = "/test.Lasting/Follow"


class Route:
    """As much of a route as a servicer needs."""

    namespace, backend, elsewhere, interfaces = "default", "fake", None, frozenset({"lasting"})

    def __init__(self) -> None:
        self.streams = OpenStreams()

    def implementation(self, interface: str) -> Route:
        return self


class Lasting(NamespacedServicer):
    """Each item of `queue` goes out; `closed` counts sources that were closed."""

    interface = "lasting"

    def __init__(self) -> None:
        self.served = Route()
        super().__init__(lambda name: self.served)  # type: ignore[arg-type,return-value]
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = self.closed = 0

    @answers
    async def Follow(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        async for item in self.stream(context, self._source(), lambda: f"after-{self.sent}" if self.sent else None):
            yield item

    async def _source(self) -> AsyncIterator[bytes]:
        try:
            while True:
                item = await self.queue.get()
                self.sent += 1
                yield item
        finally:
            self.closed += 1


@contextlib.asynccontextmanager
async def serving(servicer: Lasting, *, ours: bool = True, **limits: float) -> AsyncIterator[tuple[Any, str]]:
    """(server, address)."""
    server: Any = Server(Limits(**limits), namespaced=lambda path: False) if ours else grpc.aio.server()  # type: ignore[arg-type]
    handler = grpc.unary_stream_rpc_method_handler(servicer.Follow, None, None)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Lasting", {"Follow": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
