"""What callers see when the owner of a namespace is away, dies, refuses, is silent, or is not the owner any more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import uvloop
from google.rpc import error_details_pb2, status_pb2

from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.forwarding.peer import Peer, PeerOptions
from prism_proxy.server.limits import Limits
from tests.support.echo import CHAT, HANG, SINK, STALL, UNARY, Echo
from tests.support.forwarding import NAMESPACE, Pair, forwarding, until
from tests.support.h2peer import GOAWAY, RST_STREAM, frame
from tests.support.raw_owner import Answer, RawOwner, nothing, raw_owner

REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 7, 8, 11
QUICK = PeerOptions(wait_s=0.2, backoff_most_s=0.02)


async def refused(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str], bool]:
    """Status, reason, metadata of ErrorInfo, and whether RetryInfo and pushback say to try again."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailers = dict(caught.value.trailing_metadata() or ())
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b"")).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    again = retry.retry_delay.ToNanoseconds() > 0
    assert again == (trailers.get("grpc-retry-pushback-ms", "-1") != "-1")
    return caught.value.code(), info.reason, dict(info.metadata), again


def down(reason: str, phase: str) -> tuple[grpc.StatusCode, str, dict[str, str], bool]:
    return grpc.StatusCode.UNAVAILABLE, reason, {"peer": "owner", "phase": phase, "outcome": "not_executed"}, True


@contextlib.asynccontextmanager
async def against(
    answer: Answer = nothing, *, greet: bool = True, **options: Any,
) -> AsyncIterator[tuple[Pair, grpc.aio.Channel, RawOwner]]:
    """Forwarding to an owner made by hand."""
    async with (forwarding(Echo(), start_owner=False, **options) as pair, pair.channel() as channel,
                raw_owner(pair.owner.path, answer, greet=greet) as raw):
        yield pair, channel, raw


LOST = (grpc.StatusCode.UNAVAILABLE, "OWNER_LOST", {"peer": "owner", "phase": "await", "outcome": "unknown"}, False)


async def test_calls_wait_a_while_for_an_owner_that_is_away() -> None:
    async with (forwarding(Echo(), start_owner=False, options=QUICK, down_reason="OWNER_RESTARTING") as pair,
                pair.channel() as channel):
        began = asyncio.get_running_loop().time()
        assert await refused(channel.unary_unary(UNARY)(b"")) == down("OWNER_RESTARTING", "connect")
        assert 0.19 < asyncio.get_running_loop().time() - began < 20


async def test_calls_do_not_wait_for_a_proxy_that_has_been_away_for_longer_until_it_is_back() -> None:
    options = PeerOptions(wait_s=0.5, backoff_most_s=0.02)
    async with forwarding(Echo(), options=options) as pair, pair.channel() as channel:
        for _ in range(2):
            assert await channel.unary_unary(UNARY)(b"1") == b"1"
            await pair.owner.stop()
            await until(lambda: pair.peer.stats()["connections"] == 0)
            waiting = asyncio.ensure_future(channel.unary_unary(UNARY)(b"2"))
            await until(lambda: pair.peer.stats()["waiting"] == 1)
            await pair.owner.start()
            assert await waiting == b"2", "a short absence costs no call"
            await pair.owner.stop()
            assert await refused(channel.unary_unary(UNARY)(b"")) == down("OWNER_DOWN", "connect")
            await until(lambda: pair.peer.handler.down)
            calls = [channel.unary_unary(UNARY)(b"") for _ in range(100)]
            for call in calls:
                assert await refused(call) == down("OWNER_DOWN", "connect")
                assert pair.peer.stats()["waiting"] == 0, "refused at once"
            await pair.owner.start()
            await until(lambda: not pair.peer.handler.down)


def test_a_peer_whose_connections_are_reset_at_once_is_tried_again() -> None:
    """As by a process that dies: in uvloop, which processes have, nobody can ask for its socket then."""
    resets = 0

    def reset_all(listening: socket.socket) -> None:
        nonlocal resets
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                resets += 1

    async def connect(port: int) -> None:
        peer = Peer(f"127.0.0.1:{port}", options=QUICK)
        peer.start()
        await until(lambda: resets >= 20)
        await peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=reset_all, args=(listening,))
        thread.start()
        try:
            uvloop.run(connect(listening.getsockname()[1]))
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_calls_wait_for_a_worker_however_long_it_has_been_away() -> None:
    async with (forwarding(Echo(), start_owner=False, options=QUICK, worker=True) as pair, pair.channel() as channel):
        for _ in range(2):
            began = asyncio.get_running_loop().time()
            assert await refused(channel.unary_unary(UNARY)(b"")) == down("OWNER_DOWN", "connect")
            assert asyncio.get_running_loop().time() - began > 0.19
        assert not pair.peer.handler.down


async def test_a_call_waits_no_longer_than_its_deadline() -> None:
    async with forwarding(Echo(), start_owner=False) as pair, pair.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(UNARY)(b"", timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_calls_that_wait_are_sent_once_the_owner_is_there() -> None:
    async with forwarding(Echo(), start_owner=False) as pair, pair.channel() as channel:
        unary = [asyncio.ensure_future(_unary(channel, b"%d" % number * 200)) for number in range(50)]
        sink = channel.stream_unary(SINK)(iter([bytes(50_000)] * 3))
        await until(lambda: pair.peer.stats()["waiting"] == 51 and pair.peer.stats()["waiting_bytes"] > 150_000)
        await pair.owner.start()
        assert await asyncio.gather(*unary) == [b"%d" % number * 200 for number in range(50)]
        assert await sink == b"150000"
        assert pair.peer.stats() == {"connections": 1, "calls": 0, "waiting": 0, "waiting_bytes": 0}


async def _unary(channel: grpc.aio.Channel, request: bytes) -> bytes:
    return bytes(await channel.unary_unary(UNARY)(request))


async def test_no_more_calls_wait_than_may() -> None:
    options = PeerOptions(waiting_calls=3)
    async with forwarding(Echo(), start_owner=False, options=options) as pair, pair.channel() as channel:
        waiting = [asyncio.ensure_future(_unary(channel, b"")) for _ in range(3)]
        await until(lambda: pair.peer.stats()["waiting"] == 3)
        assert await refused(channel.unary_unary(UNARY)(b"")) == down("OWNER_DOWN", "queue")
        await pair.owner.start()
        await asyncio.gather(*waiting)


async def test_no_more_bytes_wait_than_may() -> None:
    options = PeerOptions(waiting_bytes=100_000)
    async with forwarding(Echo(), start_owner=False, options=options) as pair, pair.channel() as channel:
        first = asyncio.ensure_future(_unary(channel, bytes(60_000)))
        await until(lambda: pair.peer.stats()["waiting_bytes"] > 60_000)
        assert await refused(channel.unary_unary(UNARY)(bytes(60_000))) == down("OWNER_DOWN", "queue")
        await pair.owner.start()
        assert await first == bytes(60_000)


async def test_cancelled_calls_wait_no_longer() -> None:
    async with forwarding(Echo(), start_owner=False) as pair, pair.channel() as channel:
        calls = [channel.unary_unary(UNARY)(bytes(1000)) for _ in range(5)]
        await until(lambda: pair.peer.stats()["waiting"] == 5)
        for call in calls[1:4]:
            call.cancel()
        await until(lambda: pair.peer.stats()["waiting"] == 2)
        await pair.owner.start()
        assert [await calls[0], await calls[4]] == [bytes(1000)] * 2


async def test_a_call_in_progress_is_lost_with_its_owner_and_the_next_is_served_by_its_successor() -> None:
    echo = Echo()
    async with forwarding(echo) as pair, pair.channel() as channel:
        call = channel.unary_unary(HANG)(b"")
        await until(lambda: pair.owner.server.stats()["handlers_running"] == 1)
        pair.owner.abort()
        echo.release.set()
        assert await refused(call) == LOST
        await pair.owner.stop()
        later = asyncio.ensure_future(_unary(channel, b"later"))
        await until(lambda: pair.peer.stats()["waiting"] == 1)
        await pair.owner.start()
        assert await later == b"later"


async def test_a_lost_read_runs_again_in_the_successor_of_its_owner() -> None:
    async with forwarding(Echo(), start_owner=False) as pair, pair.channel() as channel:
        pair.repeat(UNARY)
        async with raw_owner(pair.owner.path) as raw:
            read = asyncio.ensure_future(_unary(channel, b"read"))
            write = asyncio.ensure_future(refused(channel.stream_unary(SINK)(iter([b"write"]))))
            await until(lambda: len(raw.heads) == 2)
        assert await write == LOST
        assert not read.done()
        await pair.owner.start()
        assert await read == b"read"


async def test_a_lost_read_runs_a_second_time_and_no_third() -> None:
    async with against() as (pair, channel, raw):
        pair.repeat(UNARY)
        call = asyncio.ensure_future(refused(channel.unary_unary(UNARY)(b"")))
        for attempt in (1, 2):
            await until(lambda attempt=attempt: len(raw.heads) == attempt)  # type: ignore[misc]
            raw.cut()
        assert await call == LOST
        assert len(raw.heads) == 2


async def test_a_lost_read_waits_for_a_successor_no_longer_than_other_calls() -> None:
    async with forwarding(Echo(), start_owner=False, options=QUICK) as pair, pair.channel() as channel:
        pair.repeat(UNARY)
        async with raw_owner(pair.owner.path) as raw:
            read = asyncio.ensure_future(refused(channel.unary_unary(UNARY)(b"")))
            await until(lambda: len(raw.heads) == 1)
        assert await read == down("OWNER_DOWN", "connect")


async def test_a_read_whose_reply_has_begun_does_not_run_again() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        pair.repeat(CHAT)
        chat = channel.stream_stream(CHAT)()
        await chat.write(b"one")
        assert await chat.read() == b"one"
        pair.owner.abort()
        assert await refused(chat.read()) == LOST


async def test_a_stream_that_is_lost_ends_after_what_arrived() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        chat = channel.stream_stream("/test.Echo/Chat")()
        await chat.write(b"one")
        assert await chat.read() == b"one"
        pair.owner.abort()
        assert await refused(chat.read()) == LOST


async def test_rolling_restarts_of_the_owner_fail_no_call() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        stopped = False
        done = 0

        async def load() -> None:
            nonlocal done
            while not stopped:
                assert await _unary(channel, b"x" * 500) == b"x" * 500
                done += 1

        loads = [asyncio.ensure_future(load()) for _ in range(8)]
        for _ in range(5):
            before = done
            await until(lambda before=before: done > before + 50)  # type: ignore[misc]
            await pair.owner.stop(5)
            await pair.owner.start()
        stopped = True
        await asyncio.gather(*loads)


def goaway(last: int) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, 0))


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


async def test_what_goaway_says_was_not_seen_is_sent_again() -> None:
    async with forwarding(Echo(), start_owner=False) as pair, pair.channel() as channel:
        def refuse(connection: int, stream: int) -> bytes:
            raw.end()
            return goaway(0)

        async with raw_owner(pair.owner.path, refuse) as raw:
            call = asyncio.ensure_future(_unary(channel, b"again"))
            await until(lambda: pair.peer.stats()["waiting"] == 1 and len(raw.heads) == 1)
        await pair.owner.start()
        assert await call == b"again"


async def test_what_is_too_large_to_keep_is_not_sent_again() -> None:
    wide = Limits(stream_window_bytes=4 * 1024 * 1024)
    async with forwarding(Echo(), start_owner=False, limits=wide) as pair, pair.channel() as channel:
        call = asyncio.ensure_future(refused(channel.unary_unary(UNARY)(bytes(2_000_000))))
        await until(lambda: pair.peer.stats()["waiting_bytes"] > 2_000_000)
        async with raw_owner(pair.owner.path, lambda connection, stream: goaway(0)) as raw:
            assert await call == down("OWNER_DOWN", "send")
            assert len(raw.heads) == 1


async def test_a_refused_call_is_sent_a_second_time_and_no_third() -> None:
    async with against(lambda connection, stream: reset(stream, REFUSED_STREAM)) as (_, channel, raw):
        assert await refused(channel.unary_unary(UNARY)(b"")) == down("OWNER_DOWN", "send")
        assert len(raw.heads) == 2


@pytest.mark.parametrize(("code", "status"), [
    (CANCEL, grpc.StatusCode.CANCELLED), (ENHANCE_YOUR_CALM, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (2, grpc.StatusCode.INTERNAL), (12, grpc.StatusCode.PERMISSION_DENIED)])
async def test_a_reset_by_the_owner_is_the_status_grpc_gives_it(code: int, status: grpc.StatusCode) -> None:
    async with against(lambda connection, stream: reset(stream, code)) as (_, channel, raw):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(UNARY)(b"")
        assert caught.value.code() is status
        assert len(raw.heads) == 1


async def test_an_owner_that_does_not_greet_gets_no_calls() -> None:
    async with against(greet=False, options=QUICK) as (_, channel, raw):
        assert await refused(channel.unary_unary(UNARY)(b"")) == down("OWNER_DOWN", "connect")
        assert raw.heads == []


async def test_deadlines_hold_without_the_owner() -> None:
    async with against() as (pair, channel, raw):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(UNARY)(b"", timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(raw.heads) == 1
        await until(lambda: pair.peer.stats()["calls"] == 0)


async def test_a_silent_owner_is_given_up() -> None:
    limits = Limits(keepalive_time_s=0.1, keepalive_timeout_s=0.1)
    async with against(peer_limits=limits) as (_, channel, _):
        assert await refused(channel.unary_unary(UNARY)(b"")) == LOST


async def test_calls_beyond_the_streams_of_a_connection_take_more_connections_then_wait() -> None:
    echo = Echo()
    limits = Limits(concurrent_streams=4)
    async with (forwarding(echo, owner_limits=limits, trusted=False, options=PeerOptions(connections=3)) as pair,
                pair.channel() as channel):
        calls = [asyncio.ensure_future(_stall(channel)) for _ in range(15)]
        await until(lambda: pair.peer.stats()["waiting"] == 3)
        assert pair.peer.stats()["connections"] == 3
        echo.release.set()
        assert await asyncio.gather(*calls) == [b"1"] * 15


async def test_a_call_that_finds_no_room_in_time_is_refused() -> None:
    echo = Echo()
    options = PeerOptions(connections=1, wait_s=0.1)
    async with (forwarding(echo, owner_limits=Limits(concurrent_streams=1), trusted=False, options=options) as pair,
                pair.channel() as channel):
        call = asyncio.ensure_future(_stall(channel))
        await until(lambda: pair.owner.server.stats()["handlers_running"] == 1)
        assert await refused(channel.unary_unary(UNARY)(b"")) == down("OWNER_DOWN", "queue")
        echo.release.set()
        assert await call == b"1"


async def _stall(channel: grpc.aio.Channel) -> bytes:
    return bytes(await channel.stream_unary(STALL)(iter([b"x"])))


MAP_ARRIVES_S = 0.1  # while a call that the former owner denied looks at the table again


# --- not the owner ---------------------------------------------------------------------------------------------------

async def test_a_former_owner_executes_nothing_and_says_so() -> None:
    echo = Echo()
    async with forwarding(echo) as pair, pair.channel() as channel:
        pair.owner.server.set_routes(RouteTable(2, [], NAMESPACE))
        status, reason, _, _ = await refused(channel.unary_unary(UNARY)(b""))
        assert (status, reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_OWNER")


async def test_a_call_is_forwarded_one_hop_at_most() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        back = Peer(f"127.0.0.1:{pair.port}")
        pair.owner.server.set_routes(
            RouteTable(2, [NativeRoute(None, NAMESPACE, None, forward=back.handler)], NAMESPACE))
        assert (await refused(channel.unary_unary(UNARY)(b"")))[1] == "NOT_OWNER"
        assert back.stats()["connections"] == 0
        await back.close()


async def test_a_call_to_a_former_owner_goes_to_the_one_that_the_table_names_then() -> None:
    other = Echo()
    async with forwarding(other) as beyond, forwarding(Echo()) as pair, pair.channel() as channel:
        pair.owner.server.set_routes(RouteTable(2, [], NAMESPACE))
        asyncio.get_running_loop().call_later(MAP_ARRIVES_S, _route_to, pair, beyond.peer)
        assert await _unary(channel, b"found") == b"found"
        assert await _unary(channel, b"again") == b"again"
        await until(lambda: beyond.peer.stats()["connections"] == 1)


def _route_to(pair: Pair, peer: Peer) -> None:
    pair.front.set_routes(RouteTable(2, [NativeRoute(None, NAMESPACE, None, forward=peer.handler)], NAMESPACE))


async def test_a_call_to_a_former_owner_is_served_here_when_the_namespace_has_come_here() -> None:
    async with forwarding(Echo()) as pair, pair.channel() as channel:
        pair.owner.server.set_routes(RouteTable(2, [], NAMESPACE))
        loop = asyncio.get_running_loop()
        loop.call_later(
            MAP_ARRIVES_S, pair.front.set_routes, RouteTable(2, [NativeRoute(None, NAMESPACE, None)], NAMESPACE))
        assert await _unary(channel, b"here") == b"here"
        pair.front.set_routes(RouteTable(3, [NativeRoute(None, NAMESPACE, None, forward=pair.peer.handler)], NAMESPACE))
        loop.call_later(
            MAP_ARRIVES_S, pair.front.set_routes, RouteTable(4, [NativeRoute(None, NAMESPACE, None)], NAMESPACE))
        chat = channel.stream_stream("/test.Echo/Chat")()
        await chat.write(b"one")
        assert await chat.read() == b"one"
        await chat.write(b"two")
        assert await chat.read() == b"two"
        await chat.done_writing()


async def test_the_end_of_this_process_ends_calls_that_wait() -> None:
    async with forwarding(Echo(), start_owner=False) as pair, pair.channel() as channel:
        call = channel.unary_unary(UNARY)(b"")
        await until(lambda: pair.peer.stats()["waiting"] == 1)
        await pair.peer.close()
        assert await refused(call) == down("OWNER_DOWN", "connect")
