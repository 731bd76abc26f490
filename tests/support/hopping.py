"""Proxies of one map in one process: each is a server of `handler` with an `Ownership`, without an admin."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.forwarding.ownership import Ownership, peer_token_of
from prism_proxy.forwarding.partitions import PARTITIONS, Owner, PartitionMap
from prism_proxy.forwarding.peer import Peer, PeerOptions
from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server
from prism_runtime.tls import PeerContexts, TlsConfig
from tests.support.echo import FRESH


class Node:
    """A proxy called `name`, which serves the namespaces in `serves`. `stop` and `start` may alternate: each start is
    at another port."""

    def __init__(self, name: str, handler: grpc.GenericRpcHandler[Any, Any], token: str = "",
                 tls: TlsConfig | None = None, options: PeerOptions | None = None) -> None:
        self.name = name
        self.serves: set[str] = set()
        self._handler, self._token, self._tls, self._options = handler, token, tls, options
        self.server = Server(Limits(), namespaced=lambda path: True)
        self.port = 0
        self._swaps = 0

    async def start(self) -> Owner:
        self.ownership = Ownership(self.name, self._make_peer)
        self.server = Server(Limits(), namespaced=lambda path: True)
        self.server.peer_token = peer_token_of(self._token)
        self.server.add_generic_rpc_handlers([self._handler])
        self.route()
        if self._tls is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self.server.add_secure_port("127.0.0.1:0", self._tls)
        await self.server.start()
        return self.owner

    @property
    def owner(self) -> Owner:
        return Owner(self.name, f"127.0.0.1:{self.port}")

    def _make_peer(self, owner: Owner) -> Peer:
        tls = self._tls
        contexts = PeerContexts(tls.client_ca, tls.cert, tls.key) if tls is not None else None
        return Peer(owner.address, name=owner.proxy_id, tls=(lambda: contexts.current) if contexts else None,
                    options=self._options, peer_token=peer_token_of(self._token))

    def route(self) -> None:
        """Let the server follow `serves` and the active map."""
        self._swaps += 1
        routes = [NativeRoute(None, name, None, owner=self.name) for name in self.serves]
        self.server.set_routes(RouteTable(self._swaps, routes, "default", self.ownership.routes))

    def follow(self, found: PartitionMap) -> None:
        self.ownership.set(found)
        self.route()

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=FRESH)

    async def stop(self) -> None:
        await self.server.stop(0)
        await self.ownership.close()


def everything_of(owner: Owner | None, revision: int) -> PartitionMap:
    """The map where one proxy has all partitions."""
    return PartitionMap(revision, (owner,) * PARTITIONS)


@contextlib.asynccontextmanager
async def nodes(count: int, handler: grpc.GenericRpcHandler[Any, Any], **settings: Any) -> AsyncIterator[list[Node]]:
    """Proxies `p0`, `p1` ... which have heard of no map yet; at the end nothing may be left of any call."""
    found = [Node(f"p{number}", handler, **settings) for number in range(count)]
    try:
        for node in found:
            await node.start()
        yield found
    finally:
        for node in found:
            await node.stop()
    for node in found:
        assert all(value == 0 for name, value in node.server.stats().items() if name != "connections")
