"""Spoiled replies of an owner: whatever it sends, forwarded calls end, and the server that forwards is unharmed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import uvloop

from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.forwarding.peer import Peer, PeerOptions
from prism_proxy.server.channel import Channel
from prism_proxy.server.server import Server
from tests.fuzz.cases import batches, blamed
from tests.fuzz.test_client import AT_ONCE, CALL_SECONDS, PATH, SpoiledServer, conversed, ended, streamed
from tests.support.echo import Echo
from tests.support.forwarding import until

OPTIONS = PeerOptions(wait_s=CALL_SECONDS / 2, connect_timeout_s=CALL_SECONDS)


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop that the proxy runs on."""
    return uvloop.EventLoopPolicy()


class AnyMethod(Echo):
    """Knows the method that is called; it is never served here."""

    def service(self, details: Any) -> Any:
        return self._handlers["/test.Echo/Chat"]


async def case(rng: random.Random) -> None:
    owner = await asyncio.start_server(SpoiledServer(rng).serve, "127.0.0.1", 0)
    peer = Peer(f"127.0.0.1:{owner.sockets[0].getsockname()[1]}", options=OPTIONS)
    front = Server(namespaced=lambda path: True)
    front.add_generic_rpc_handlers([AnyMethod()])
    front.set_routes(RouteTable(1, [NativeRoute(None, "default", None, forward=peer.handler)], "default"))
    port = front.add_insecure_port("127.0.0.1:0")
    await front.start()
    channel = Channel(f"127.0.0.1:{port}")
    try:
        await asyncio.gather(ended(channel.unary(PATH, b"request", timeout_s=CALL_SECONDS)), ended(streamed(channel)),
                             ended(conversed(channel)))
        await channel.close()
        await until(lambda: not any(front.stats().values()) and not peer.stats()["calls"],
                    lambda: f"something is left: {front.stats()} {peer.stats()}", 30)
    finally:
        await front.stop(0)
        await peer.close()
        owner.close()


async def test_spoiled_replies_of_an_owner_end_calls_and_harm_nothing() -> None:
    defects: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context))
    for number, generators in enumerate(batches(AT_ONCE)):
        with blamed(number, AT_ONCE):
            await asyncio.gather(*(case(rng) for rng in generators))
            assert not defects, defects[0]
