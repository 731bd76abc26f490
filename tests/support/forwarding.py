"""Two servers in one process: `front` forwards every call of its namespaces to `owner` over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from prism_proxy._native.grpc.call_watch import CallWatch
from prism_proxy._native.grpc.metrics import MethodStats
from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.forwarding.peer import Peer, PeerOptions
from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server
from prism_runtime.address import Address
from tests.support.echo import FRESH

NAMESPACE = "default"


def everything(path: str) -> bool:
    """Every method belongs to a namespace."""
    return True


class Owner:
    """A server on a Unix socket, and on `port` for direct calls. It can be stopped and started again."""

    def __init__(
        self, path: str, handler: grpc.GenericRpcHandler[Any, Any], limits: Limits, trusted: bool
    ) -> None:
        self.path, self._handler, self._limits, self._trusted = path, handler, limits, trusted
        self.port = 0
        self.server = Server(limits, namespaced=everything)

    async def start(self) -> None:
        self.server = Server(self._limits, namespaced=everything)
        self.server.add_generic_rpc_handlers([self._handler])
        self.server.set_routes(RouteTable(1, [NativeRoute(None, NAMESPACE, None)], NAMESPACE))
        self.server.bind(Address("", 0, self.path), None, trusted=self._trusted)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()

    async def stop(self, grace: float = 0) -> None:
        await self.server.stop(grace)

    def abort(self) -> None:
        """Cut every connection, as the death of the process would."""
        assert self.server._core is not None
        for connection in list(self.server._core.connections):
            connection.close()


class Pair:
    """`front` serves on `port`. `peer` is what it knows of `owner`."""

    def __init__(self, owner: Owner, peer: Peer, front: Server, port: int) -> None:
        self.owner, self.peer, self.front, self.port = owner, peer, front, port

    def repeat(self, *paths: str) -> None:
        """Let these methods run again when they are lost with the owner."""
        repeated = frozenset(path.encode() for path in paths)
        route = NativeRoute(None, NAMESPACE, None, forward=self.peer.handler, repeated=repeated)
        self.front.set_routes(RouteTable(2, [route], NAMESPACE))

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=FRESH)

    async def at_rest(self) -> None:
        """Every gauge of both sides returns to zero but the connections between them."""
        def left() -> dict[str, int]:
            gauges = {f"front {name}": value for name, value in self.front.stats().items()}
            gauges |= {f"owner {name}": value for name, value in self.owner.server.stats().items()}
            gauges |= {f"peer {name}": value for name, value in self.peer.stats().items()}
            return {name: value for name, value in gauges.items() if value and "connections" not in name}

        await until(lambda: not left(), lambda: f"something is left: {left()}")


async def until(condition: Callable[[], bool], what: Callable[[], str] = lambda: "", seconds: float = 45) -> None:
    """Wait for a condition. AssertionError says `what` otherwise."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(what()) from None


@contextlib.asynccontextmanager
async def forwarding(
    handler: grpc.GenericRpcHandler[Any, Any], *, limits: Limits | None = None, owner_limits: Limits | None = None,
    peer_limits: Limits | None = None, options: PeerOptions | None = None, start_owner: bool = True,
    trusted: bool = True,
    stats_for: Callable[[str | None, str, str], MethodStats] | None = None, watch: CallWatch | None = None,
    **peer_options: Any,
) -> AsyncIterator[Pair]:
    """A front and an owner of `handler`; at the end nothing may be left of any call."""
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "owner.sock")
        owner = Owner(path, handler, owner_limits or limits or Limits(), trusted)
        if start_owner:
            await owner.start()

        peer = Peer(f"unix:{path}", name="owner", limits=peer_limits or limits, options=options, **peer_options)
        front = Server(limits, namespaced=everything, stats_for=stats_for)
        front.watch = watch
        front.add_generic_rpc_handlers([handler])  # known here, served there
        front.set_routes(RouteTable(1, [NativeRoute(None, NAMESPACE, None, forward=peer.handler)], NAMESPACE))
        port = front.add_insecure_port("127.0.0.1:0")
        await front.start()
        pair = Pair(owner, peer, front, port)
        try:
            yield pair
            await pair.at_rest()
        finally:
            await front.stop(0)
            await peer.close()
            await owner.stop()
