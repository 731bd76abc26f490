"""A proxy that owns nothing: it forwards every call to the process at OWNER. Usage: forwarding_front ADDRESS OWNER."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.forwarding.peer import Peer
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.server.server import Server


async def serve(address: str, owner: str) -> None:
    peer = Peer(owner)
    peer.start()
    server = Server(namespaced=namespaced)
    add_interfaces(server, lambda name: None)
    server.set_routes(RouteTable(1, [NativeRoute(None, "default", None, forward=peer.handler)], "default"))
    server.add_insecure_port(address)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(1)
    await peer.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
