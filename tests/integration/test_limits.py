"""Each limit of the server is hit by a hostile peer: what it gets, what is counted, and that others go on.

`echo_server` asserts at its end that a stock client is still served and that every gauge returned to zero.
"""

from __future__ import annotations

import asyncio
import gzip
import struct
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import uvloop

from prism_proxy.server.limits import Limits
from tests.support import h2peer as h2
from tests.support.echo import CHAT, FRESH, HANG, SINK, SOURCE, STALL, UNARY, Echo, Served, echo_server
from tests.support.h2peer import CONTINUATION, DATA, END_HEADERS, END_STREAM, H2Peer, frame, grpc_headers, message

ERROR = struct.Struct(">I")


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop that the proxy runs on."""
    return uvloop.EventLoopPolicy()


def reset(stream: int, code: int = h2.CANCEL) -> bytes:
    return frame(h2.RST_STREAM, 0, stream, ERROR.pack(code))


def window(stream: int, size: int = 1) -> bytes:
    return frame(h2.WINDOW_UPDATE, 0, stream, ERROR.pack(size))


async def calmed(peer: H2Peer, served: Served, limit: str) -> None:
    """The connection ends with h2.ENHANCE_YOUR_CALM naming the limit, and is counted."""
    assert await peer.lost() == h2.ENHANCE_YOUR_CALM
    assert limit.encode() in peer.goaways[-1][2]
    assert served.hits(limit) >= 1


# --- floods --------------------------------------------------------------------------------------------------------

async def test_rapid_reset() -> None:
    async with echo_server(reset_burst=20, reset_rate_per_s=1) as served, H2Peer(served.port) as peer:
        frames = []
        for _ in range(30):
            stream = peer.next_stream()
            frames += [peer.head(stream, grpc_headers(UNARY)), reset(stream)]
        await peer.send(*frames)
        await calmed(peer, served, "resets")


async def test_resets_that_a_peer_provokes_count_in_the_same_bucket() -> None:
    """Half the bucket by its own resets, half by windows that overflow (MadeYouReset)."""
    async with echo_server(reset_burst=20, reset_rate_per_s=1) as served, H2Peer(served.port) as peer:
        for number in range(30):
            if peer.closed:
                break
            stream = await peer.start(HANG)
            await peer.send(window(stream, 2**31 - 1) if number % 2 else reset(stream))
        await calmed(peer, served, "resets")


async def cancelled_at_once(served: Served, channel: grpc.aio.Channel) -> set[grpc.StatusCode]:
    calls = [channel.unary_unary(HANG)(b"") for _ in range(256)]
    await served.until("handlers_running", 256)
    for call in calls:
        call.cancel()
    return set(await asyncio.gather(*(call.code() for call in calls)))


async def test_256_calls_cancelled_at_once_are_no_flood() -> None:
    async with echo_server() as served:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}", options=FRESH) as channel:
            for _ in range(3):
                assert await cancelled_at_once(served, channel) == {grpc.StatusCode.CANCELLED}
                served.echo.release.set()
                await served.until("handlers_running", 0)
                served.echo.release.clear()
            assert await channel.unary_unary(UNARY)(b"same connection") == b"same connection"
            assert served.server.stats()["connections"] == 1
        assert served.hits("resets") == 0


async def deadline_storm(channel: grpc.aio.Channel) -> set[grpc.StatusCode]:
    calls = [channel.unary_unary(STALL)(b"", timeout=0.4) for _ in range(100)]
    return set(await asyncio.gather(*(call.code() for call in calls)))


async def test_deadline_storms_are_no_flood() -> None:
    async with echo_server(reset_burst=50, reset_rate_per_s=1) as served:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}", options=FRESH) as channel:
            for _ in range(3):
                assert await deadline_storm(channel) == {grpc.StatusCode.DEADLINE_EXCEEDED}
            assert await channel.unary_unary(UNARY)(b"same connection") == b"same connection"
            assert served.server.stats()["connections"] == 1
        assert served.hits("resets") == 0


async def test_resets_despite_a_long_deadline_are_a_flood() -> None:
    async with echo_server(reset_burst=20, reset_rate_per_s=1) as served, H2Peer(served.port) as peer:
        frames = []
        for _ in range(30):
            stream = peer.next_stream()
            frames += [peer.head(stream, grpc_headers(UNARY, ("grpc-timeout", "250m"))), reset(stream)]
        await peer.send(*frames)
        await calmed(peer, served, "resets")


async def test_continuation_flood() -> None:
    async with echo_server(continuation_frames=4) as served, H2Peer(served.port) as peer:
        block = peer.encoder.encode(grpc_headers(UNARY))
        await peer.send(frame(h2.HEADERS, 0, peer.next_stream(), block[:2]),
                        *(frame(CONTINUATION, 0, 1, block[at:at + 1]) for at in range(2, 12)))
        await calmed(peer, served, "continuation_frames")


async def test_settings_with_too_many_entries() -> None:
    async with echo_server(settings_entries=8) as served, H2Peer(served.port) as peer:
        await peer.send(h2.settings(*[(h2.WINDOW_SETTING, 65535)] * 9))
        await calmed(peer, served, "settings_entries")


@pytest.mark.parametrize("kind", [h2.SETTINGS, h2.PING], ids=["SETTINGS", "PING"])
async def test_acknowledgements_queued_to_a_peer_that_does_not_read(kind: int) -> None:
    """Past control_queue_pause its socket is no longer read, so neither queue nor memory grows."""
    one = frame(kind, 0, 0, b"" if kind == h2.SETTINGS else bytes(8))
    limits = {"control_queue_close": 200, "ping_strikes": 2**31 - 1, "max_age_s": 1000}
    async with echo_server(**limits) as served, H2Peer(served.port) as peer:
        await peer.send(one * 1000)
        await calmed(peer, served, "control_queue_close")


async def test_a_peer_that_reads_nothing_is_read_no_more_and_cut() -> None:
    limits = {"control_queue_pause": 5, "zero_window_timeout_s": 0.5, "ping_strikes": 2**31 - 1}
    async with echo_server(**limits) as served, H2Peer(served.port) as peer:
        peer._reader._transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(peer.head(peer.next_stream(), grpc_headers(SOURCE)),
                        frame(DATA, END_STREAM, 1, message(b"4000 65536")))
        async with asyncio.timeout(5):
            while not served.hits("control_queue_pause"):
                peer.writer.write(frame(h2.PING, 0, 0, bytes(8)) * 10)
                await asyncio.sleep(0.02)
        await served.until("connections", 0)
        assert served.hits("zero_window_timeout_s") == 1
        assert served.echo.sent < 64 << 20, "the servicer ran ahead of a peer that reads nothing"


async def test_pings_without_data() -> None:
    async with echo_server(ping_strikes=2) as served, H2Peer(served.port) as peer:
        await peer.send(*[frame(h2.PING, 0, 0, bytes(8))] * 5)
        await calmed(peer, served, "ping_min_interval_s")


async def test_pings_between_calls_are_forgiven() -> None:
    async with echo_server(ping_strikes=1) as served, H2Peer(served.port) as peer:
        for _ in range(10):
            await peer.ping()
            assert (await peer.unary(UNARY, b"x")).status == 0
    assert served.hits("ping_min_interval_s") == 0


async def test_priority_flood() -> None:
    async with echo_server(priority_base=10) as served, H2Peer(served.port) as peer:
        await peer.send(*(frame(h2.PRIORITY, 0, 101, struct.pack(">IB", 0, 1)) for _ in range(12)))
        await calmed(peer, served, "priority_frames")


async def test_window_update_flood() -> None:
    async with echo_server(window_update_base=5) as served, H2Peer(served.port) as peer:
        await peer.send(*[window(0)] * 50)
        await calmed(peer, served, "window_updates")


async def test_window_updates_that_come_with_their_calls_are_no_flood() -> None:
    """Stock clients open a stream and widen its window in one write, for many calls at once."""
    async with echo_server(window_update_base=5) as served, H2Peer(served.port, initial=()) as peer:
        streams = [peer.next_stream() for _ in range(100)]
        await peer.send(*(peer.head(stream, grpc_headers(UNARY)) + window(stream) * 2
                          + frame(DATA, END_STREAM, stream, message(b"x")) for stream in streams))
        for stream in streams:
            assert (await peer.reply(stream)).messages() == [b"x"]


@pytest.mark.parametrize("kind", [DATA, CONTINUATION], ids=["DATA", "CONTINUATION"])
async def test_empty_frames(kind: int) -> None:
    async with echo_server(empty_frames=5) as served, H2Peer(served.port) as peer:
        stream = peer.next_stream()
        head = peer.encoder.encode(grpc_headers(SINK))
        await peer.send(frame(h2.HEADERS, 0 if kind == CONTINUATION else END_HEADERS, stream, head),
                        *[frame(kind, 0, stream)] * 8)
        await calmed(peer, served, "empty_frames")


# --- heads ---------------------------------------------------------------------------------------------------------

async def test_an_hpack_bomb_costs_the_connection() -> None:
    """A 4 KiB field in the dynamic table, named a thousand times by one byte each."""
    async with echo_server() as served, H2Peer(served.port) as peer:
        stream = peer.next_stream()
        block = peer.encoder.encode([*grpc_headers(UNARY), ("x", "y" * 3900)])
        await peer.send(frame(h2.HEADERS, END_HEADERS, stream, block + b"\xbe" * 1000))
        await calmed(peer, served, "header_list_bytes")


@pytest.mark.parametrize(("limit", "fields"), [
    ("header_fields", [("cookie", "a=b")] * 130), ("header_list_bytes", [("x", "y" * 9000), ("z", "y" * 9000)])])
async def test_a_head_over_its_limit_costs_the_call_only(limit: str, fields: list[tuple[str, str]]) -> None:
    async with echo_server() as served, H2Peer(served.port) as peer:
        block = peer.encoder.encode([*grpc_headers(UNARY), *fields])
        stream = peer.next_stream()
        await peer.send(frame(h2.HEADERS, 0, stream, block[:16000]),
                        frame(CONTINUATION, END_HEADERS, stream, block[16000:]))
        reply = await peer.reply(stream)
        assert reply.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert limit in reply.text
        assert served.hits(limit) == 1
        assert (await peer.unary(UNARY, b"x")).status == 0


async def test_more_streams_than_allowed_are_refused() -> None:
    """Until the peer acknowledged the setting it may not know; after that it breaks the protocol."""
    async with echo_server(concurrent_streams=4) as served, H2Peer(served.port, acknowledge=False) as peer:
        assert peer.settings[3] == 4
        streams = [await peer.start(SINK) for _ in range(6)]
        for stream in streams[4:]:
            assert (await peer.reply(stream)).reset == h2.REFUSED_STREAM
        assert served.hits("concurrent_streams") == 2
        await peer.send(*(reset(stream) for stream in streams[:4]))
        await served.until("handlers_running", 0)
        assert (await peer.unary(UNARY, b"x")).status == 0
        await peer.send(frame(h2.SETTINGS, h2.ACK, 0))
        for _ in range(5):
            await peer.start(SINK)
        assert await peer.lost() == h2.PROTOCOL_ERROR


async def test_handlers_that_outlive_their_reset_count_as_streams() -> None:
    async with echo_server(concurrent_streams=4) as served, H2Peer(served.port) as peer:
        for _ in range(4):
            stream = peer.next_stream()
            await peer.send(peer.head(stream, grpc_headers(HANG)), frame(DATA, END_STREAM, stream, message(b"")))
            await peer.ping()
            await peer.send(reset(stream))
        assert (await peer.unary(UNARY, b"x")).reset == h2.REFUSED_STREAM
        served.echo.release.set()
        await served.until("handlers_running", 0)
        assert (await peer.unary(UNARY, b"x")).status == 0


async def test_a_handler_counts_no_longer_than_until_its_answer() -> None:
    """The loop may send the answer, and read the caller's next call, before it reaps the task."""
    async with echo_server(concurrent_streams=1) as served, H2Peer(served.port) as peer:
        stream = peer.next_stream()
        await peer.send(peer.head(stream, grpc_headers(HANG)), frame(DATA, END_STREAM, stream, message(b"")))
        await served.until("handlers_running", 1)
        served.echo.release.set()
        await asyncio.sleep(0)
        assert served.server.stats()["handlers_running"] == 0
        assert (await peer.reply(stream)).status == 0


# --- memory --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("tiny", ["frames", "messages"])
async def test_bytes_held_stay_near_the_payload(tiny: str) -> None:
    """One message in DATA frames of one byte, and many messages of one byte: neither multiplies the memory."""
    async with echo_server() as served, H2Peer(served.port) as peer:
        stream = await peer.start(STALL)
        payload = message(bytes(20_000)) if tiny == "frames" else message(b"x") * 4_000
        size = 1 if tiny == "frames" else 6
        await peer.send(*(frame(DATA, 0, stream, payload[at:at + size]) for at in range(0, len(payload) - 1, size)))
        await peer.ping()
        assert 0 < served.server.stats()["bytes_held"] <= 4 * len(payload)
        served.echo.release.set()
        await peer.send(reset(stream))


async def test_a_message_too_large_is_named() -> None:
    async with echo_server(max_message_bytes=1024) as served, H2Peer(served.port) as peer:
        for size in (1025, 2**32 - 1):
            stream = await peer.start(UNARY)
            await peer.send(frame(DATA, 0, stream, struct.pack(">BI", 0, size)))
            reply = await peer.reply(stream)
            assert reply.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert "max_message_bytes" in reply.text
            assert "claim check" in reply.text
        assert served.hits("max_message_bytes") == 2
        assert (await peer.unary(UNARY, bytes(1024))).messages() == [bytes(1024)]


async def test_the_receive_budget_stops_windows_from_growing() -> None:
    """What one peer leaves unread is bounded by the budget and one window; the credit comes back with the memory."""
    limits = {"receive_budget_bytes": 65536, "stream_window_bytes": 65535, "zero_window_timeout_s": 60}
    async with echo_server(**limits) as served, H2Peer(served.port) as peer:
        streams = [await peer.start(STALL) for _ in range(4)]
        for stream in streams:
            await peer.send(*[frame(DATA, 0, stream, message(bytes(15_000)))] * 4)
        await peer.ping()
        held = served.server.stats()["bytes_held"]
        assert 4 * 60_000 <= held <= 4 * 4 * 65535
        assert served.hits("receive_budget_bytes") > 0
        last = await peer.start(SINK)
        await peer.send(frame(DATA, 0, last, message(bytes(15_000))))
        await peer.ping()
        assert last not in peer.window_updates
        served.echo.release.set()
        await peer.send(*(frame(DATA, END_STREAM, stream) for stream in [*streams, last]))
        for stream in streams:
            assert (await peer.reply(stream)).messages() == [b"60000"]
        assert (await peer.reply(last)).messages() == [b"15000"]


async def test_a_stream_whose_window_never_opens_is_cut() -> None:
    async with echo_server(zero_window_timeout_s=0.2) as served, H2Peer(served.port, initial=((4, 0),)) as peer:
        stream = peer.next_stream()
        await peer.send(peer.head(stream, grpc_headers(SOURCE)),
                        frame(DATA, END_STREAM, stream, message(b"1000 100000")))
        assert (await peer.reply(stream)).reset == h2.CANCEL
        assert served.hits("zero_window_timeout_s") == 1
        await served.until("streams", 0)
        await served.until("handlers_running", 0)
        assert served.echo.sent <= 1_000_000, "the servicer ran ahead of a window that never opened"


async def test_one_stalled_stream_beside_a_hundred_calls_on_one_connection() -> None:
    """A servicer that does not read takes its own stream's window, not the connection's."""
    limits = {"stream_window_bytes": 65535, "connection_window_bytes": 65535}
    async with echo_server(**limits) as served, H2Peer(served.port) as peer:
        stalled = await peer.start(STALL)
        await peer.send(*[frame(DATA, 0, stalled, message(bytes(13_000)))] * 5)
        for number in range(100):
            payload = b"%d" % number * 1000
            assert (await peer.unary(UNARY, payload)).messages() == [payload]
        served.echo.release.set()
        await peer.send(frame(DATA, END_STREAM, stalled))
        assert (await peer.reply(stalled)).messages() == [b"65000"]


@pytest.mark.parametrize("inflated", [90_000, 110_000, 10_000_000])
async def test_inflating_stops_at_the_message_limit(inflated: int) -> None:
    limits = {"max_message_bytes": 100_000, "inflate_offload_bytes": 1024}
    async with echo_server(**limits) as served, H2Peer(served.port) as peer:
        reply = await peer.unary(UNARY, gzip.compress(bytes(inflated)), ("grpc-encoding", "gzip"), flag=1)
        if inflated <= 100_000:
            assert reply.messages() == [bytes(inflated)]
        else:
            assert reply.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert "max_message_bytes" in reply.text
            assert served.hits("max_message_bytes") == 1


async def test_the_header_decoders_table_is_bounded() -> None:
    async with echo_server(hpack_table_bytes=0) as served, H2Peer(served.port) as peer:
        assert peer.settings[1] == 0
        await peer.ping()
        block = b"\x3f\xe1\x7f" + peer.encoder.encode(grpc_headers(UNARY))  # a table of 16 KiB, please
        await peer.send(frame(h2.HEADERS, END_HEADERS, peer.next_stream(), block))
        assert await peer.lost() in (h2.COMPRESSION_ERROR, h2.PROTOCOL_ERROR)


# --- time ----------------------------------------------------------------------------------------------------------

async def test_a_peer_that_says_nothing() -> None:
    async with echo_server(handshake_timeout_s=0.2) as served, H2Peer(served.port, silent=True) as peer:
        assert await peer.lost() == h2.ENHANCE_YOUR_CALM
        assert served.hits("handshake_timeout_s") == 1


async def test_a_preface_that_arrives_byte_by_byte() -> None:
    async with echo_server(handshake_timeout_s=0.2) as served, H2Peer(served.port, silent=True) as peer:
        for at in range(len(h2.PREFACE)):
            await peer.send(h2.PREFACE[at:at + 1])
            await asyncio.sleep(0.03)
        assert peer.closed
        assert served.hits("handshake_timeout_s") == 1


async def test_a_header_block_that_never_ends() -> None:
    async with echo_server(header_timeout_s=0.2) as served, H2Peer(served.port) as peer:
        await peer.send(frame(h2.HEADERS, 0, 1, peer.encoder.encode(grpc_headers(UNARY))))
        await calmed(peer, served, "header_timeout_s")


async def test_an_idle_connection_is_ended_and_a_used_one_is_not() -> None:
    async with echo_server(idle_timeout_s=0.4) as served, H2Peer(served.port) as idle, H2Peer(served.port) as used:
        await used.start(SINK)
        assert await idle.lost() == h2.NO_ERROR
        assert served.hits("idle_timeout_s") == 1
        assert not used.closed


async def test_an_old_connection_finishes_its_calls_and_ends() -> None:
    async with echo_server(max_age_s=0.2, age_grace_s=5) as served, H2Peer(served.port) as peer:
        stream = await peer.start(CHAT)
        await peer.until(lambda: len(peer.goaways) == 2)
        assert peer.goaways[0][0] == 2**31 - 1
        assert peer.goaways[1][0] == stream
        await peer.send(frame(DATA, END_STREAM, stream, message(b"late")))
        reply = await peer.reply(stream)
        assert (reply.messages(), reply.status) == ([b"late"], 0)
        assert await peer.lost() == h2.NO_ERROR
        assert served.hits("max_age_s") == 1


async def test_an_old_connection_whose_calls_do_not_end_is_closed() -> None:
    async with echo_server(max_age_s=0.2, age_grace_s=0.2) as served, H2Peer(served.port) as peer:
        await peer.start(CHAT)
        assert await peer.lost() == h2.NO_ERROR
        assert served.hits("max_age_s") == 1


async def test_a_silent_peer_with_a_call_is_pinged_and_cut() -> None:
    limits = {"keepalive_time_s": 0.2, "keepalive_timeout_s": 0.2}
    async with (echo_server(**limits) as served, H2Peer(served.port, acknowledge=False) as dead,
                H2Peer(served.port) as alive):
        await dead.start(SINK)
        stream = await alive.start(SINK)
        assert await dead.lost() is None
        assert served.hits("keepalive_timeout_s") == 1
        await alive.send(frame(DATA, END_STREAM, stream, message(b"abc")))
        assert (await alive.reply(stream)).messages() == [b"3"]


async def test_a_deadline_holds_for_a_request_that_never_ends() -> None:
    async with echo_server() as served, H2Peer(served.port) as peer:
        stream = await peer.start(UNARY, ("grpc-timeout", "100m"))
        await peer.send(frame(DATA, 0, stream, message(b"whole, but the stream stays open")))
        assert (await peer.reply(stream)).status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


# --- connections ---------------------------------------------------------------------------------------------------

async def test_connections_over_the_cap_are_closed() -> None:
    async with echo_server(connections=2) as served:
        async with H2Peer(served.port) as first, H2Peer(served.port):
            async with H2Peer(served.port, silent=True) as third:
                assert await third.lost() is None
            assert served.hits("connections") == 1
            assert (await first.unary(UNARY, b"x")).status == 0
        await served.until("connections", 0)


async def test_a_small_compressed_message_that_inflates_past_the_limit() -> None:
    async with echo_server(max_message_bytes=1024) as served, H2Peer(served.port) as peer:
        reply = await peer.unary(UNARY, gzip.compress(bytes(60_000)), ("grpc-encoding", "gzip"), flag=1)
        assert reply.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert served.hits("max_message_bytes") == 1


async def test_synchronous_servicers_that_wait_hold_up_no_inflating() -> None:
    """Every thread of theirs waits; the server's own work, on other callers' large messages, has threads of its own."""
    release, waiting = threading.Event(), threading.Semaphore(0)

    def wait(request: bytes, context: Any) -> bytes:
        waiting.release()
        release.wait(30)
        return request

    async def packed(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        context.set_compression(grpc.Compression.Gzip)
        yield bytes(1_000_000)

    served = Served(Limits(servicer_threads=2, inflate_offload_bytes=1024), Echo())
    served.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Sync", {
        "Wait": grpc.unary_unary_rpc_method_handler(wait), "Packed": grpc.unary_stream_rpc_method_handler(packed)})])
    await served.server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}", options=FRESH) as channel:
            calls = [channel.unary_unary("/test.Sync/Wait")(b"") for _ in range(4)]
            async with asyncio.timeout(10):
                while not waiting.acquire(blocking=False) or not waiting.acquire(blocking=False):
                    await asyncio.sleep(0.01)
            async with H2Peer(served.port) as peer:
                large = ("grpc-encoding", "gzip")
                reply = await peer.unary(UNARY, gzip.compress(bytes(100_000)), large, flag=1)
                assert reply.messages() == [bytes(100_000)]
                stream = peer.next_stream()
                await peer.send(
                    peer.head(stream, grpc_headers("/test.Sync/Packed", ("grpc-accept-encoding", "gzip"))),
                    frame(DATA, END_STREAM, stream, message(b"")))
                assert gzip.decompress((await peer.reply(stream)).messages()[0]) == bytes(1_000_000)
            assert not any(call.done() for call in calls)
            release.set()
            assert await asyncio.gather(*calls) == [b""] * 4
    finally:
        release.set()
        await served.server.stop(0)
