"""WINDOW_UPDATE frames: as many as stock clients send are no flood, and a flood still ends the connection."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server

HEAD = [(":method", "POST"), (":scheme", "http"), (":path", "/t.Service/Wait"), (":authority", "t"),
        ("content-type", "application/grpc"), ("te", "trailers")]


@pytest.fixture
async def peer() -> AsyncIterator[SimpleNamespace]:
    """A connection to a server whose handler does not answer."""
    never = asyncio.Event()

    async def wait(request: bytes, context: object) -> bytes:
        await never.wait()
        return b""

    server = Server(Limits())
    server.add_registered_method_handlers("t.Service", {"Wait": grpc.unary_unary_rpc_method_handler(wait)})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    yield SimpleNamespace(server=server, reader=reader, writer=writer, h2=connection)
    writer.close()
    await server.stop(0)


def open_streams(connection: h2.connection.H2Connection, count: int) -> None:
    """Start calls as grpcio does: head, two WINDOW_UPDATEs, message."""
    for _ in range(count):
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, HEAD)
        connection.increment_flow_control_window(5, stream)
        connection.increment_flow_control_window(5)
        connection.send_data(stream, b"\0\0\0\0\0", end_stream=True)


async def first_event(peer: SimpleNamespace, *kinds: type[h2.events.Event]) -> h2.events.Event:
    """Send what is due, then read until an event of one of the kinds."""
    peer.writer.write(peer.h2.data_to_send())
    while data := await peer.reader.read(65536):
        for event in peer.h2.receive_data(data):
            if isinstance(event, kinds):
                return event
        peer.writer.write(peer.h2.data_to_send())
    raise AssertionError("the connection ended without a word")


async def settle(peer: SimpleNamespace) -> None:
    """The server's settings allow that many streams only once they arrived."""
    await first_event(peer, h2.events.RemoteSettingsChanged)


async def test_what_stock_clients_send_before_the_first_reply_is_no_flood(peer: SimpleNamespace) -> None:
    await settle(peer)
    open_streams(peer.h2, 256)
    for _ in range(60):
        peer.h2.increment_flow_control_window(5)
    peer.h2.ping(b"answered")
    event = await first_event(peer, h2.events.PingAckReceived, h2.events.ConnectionTerminated)
    assert isinstance(event, h2.events.PingAckReceived)
    assert peer.server.limit_hits()["window_updates"] == 0


async def test_a_flood_ends_the_connection(peer: SimpleNamespace) -> None:
    await settle(peer)
    open_streams(peer.h2, 1)
    for _ in range(100 + 2 + 1):
        peer.h2.increment_flow_control_window(1)
    event = await first_event(peer, h2.events.ConnectionTerminated)
    assert event.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    assert event.additional_data == b"window_updates"
    assert peer.server.limit_hits()["window_updates"] == 1
