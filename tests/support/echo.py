"""A plain servicer over bytes, and a running native server of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server

SERVICE = "test.Echo"
UNARY, HANG, STALL, SINK, SOURCE, CHAT = (f"/{SERVICE}/{name}" for name in (
    "Unary", "Hang", "Stall", "Sink", "Source", "Chat"))


class Echo(grpc.GenericRpcHandler):
    """`release` ends the calls of Hang (which ignore cancellation) and lets Stall read."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.sent = 0
        self._handlers = {
            UNARY: grpc.unary_unary_rpc_method_handler(self.unary),
            HANG: grpc.unary_unary_rpc_method_handler(self.hang),
            STALL: grpc.stream_unary_rpc_method_handler(self.stall),
            SINK: grpc.stream_unary_rpc_method_handler(self.sink),
            SOURCE: grpc.unary_stream_rpc_method_handler(self.source),
            CHAT: grpc.stream_stream_rpc_method_handler(self.chat),
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(details.method)

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return request

    async def hang(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        while not self.release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.release.wait()
        return request

    async def stall(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        await self.release.wait()
        return b"%d" % sum([len(item) async for item in requests])

    async def sink(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        return b"%d" % sum([len(item) async for item in requests])

    async def source(self, request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        """The request is `COUNT SIZE`."""
        count, size = map(int, request.split())
        for _ in range(count):
            self.sent += size
            yield bytes(size)

    async def chat(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request


class OneMethod(grpc.GenericRpcHandler):
    """`/test.One/Call` by a behaviour."""

    PATH = "/test.One/Call"

    def __init__(self, behaviour: Any, kind: str = "unary_unary") -> None:
        self._handler = getattr(grpc, f"{kind}_rpc_method_handler")(behaviour)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handler


class Served:
    """A started server on `port` of the loopback."""

    def __init__(self, limits: Limits, echo: Echo) -> None:
        self.echo = echo
        self.server = Server(limits)
        self.server.add_generic_rpc_handlers([echo])
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def hits(self, name: str) -> int:
        return self.server.limit_hits()[name]

    async def until(self, what: str, value: int, seconds: float = 10) -> None:
        """Wait for a gauge of the server."""
        async with asyncio.timeout(seconds):
            while self.server.stats()[what] != value:
                await asyncio.sleep(0.005)

    async def at_rest(self) -> None:
        """Every gauge returns to zero: AssertionError names those that do not."""
        try:
            async with asyncio.timeout(5):
                while any(self.server.stats().values()):
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"something is left: {self.server.stats()}") from None

    async def assert_serves(self, payload: bytes = b"still here") -> None:
        """A stock client is served."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=FRESH) as channel:
            assert await channel.unary_unary(UNARY)(payload, timeout=10, wait_for_ready=True) == payload


# Channels to the same target share a connection otherwise, also with one that a test has ruined.
FRESH = (("grpc.use_local_subchannel_pool", 1),)


@contextlib.asynccontextmanager
async def echo_server(**limits: Any) -> AsyncIterator[Served]:
    """A server with the given limits; at the end its gauges must return to zero and it must still serve."""
    echo = Echo()
    served = Served(Limits(**limits), echo)
    await served.server.start()
    try:
        yield served
        echo.release.set()
        await served.assert_serves()
        await served.at_rest()
    finally:
        echo.release.set()
        await served.server.stop(0)
