"""Streams that last as long as their callers want: whoever must end them does, and says where to go on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism_proxy.interfaces.streams import ended
from tests.support.lasting_streams import PATH, Lasting, serving

GONE = ended("NAMESPACE_CHANGED", "the namespace has another backend")


def follow(channel: grpc.aio.Channel) -> Any:
    return channel.unary_stream(PATH)(b"")


async def refused(call: Any, reason: str, resume: str | None) -> None:
    """The call ended UNAVAILABLE: at once to be tried again, from where it was."""
    assert await asyncio.wait_for(call.code(), 5) is grpc.StatusCode.UNAVAILABLE
    trailers = dict(list(await call.trailing_metadata()))
    assert trailers.get("x-prism-resume") == resume
    status = await rpc_status.aio.from_call(call)
    details = {detail.type_url.rpartition(".")[2]: detail for detail in status.details}
    info = error_details_pb2.ErrorInfo.FromString(details["ErrorInfo"].value)
    assert info.reason == reason
    assert "RetryInfo" in details


@pytest.mark.parametrize("ours", [True, False], ids=["prism", "grpc.aio"])
async def test_a_stream_is_ended_with_where_to_go_on(ours: bool) -> None:
    servicer = Lasting()
    async with serving(servicer, ours=ours) as (_, address), grpc.aio.insecure_channel(address) as channel:
        busy = follow(channel)
        servicer.queue.put_nowait(b"1")
        assert await asyncio.wait_for(anext(aiter(busy)), 5) == b"1"
        idle = follow(channel)
        async with asyncio.timeout(5):
            while len(servicer.served.streams) < 2:
                await asyncio.sleep(0.001)
        servicer.served.streams.end(GONE)
        await refused(idle, "NAMESPACE_CHANGED", "after-1")
        await refused(busy, "NAMESPACE_CHANGED", "after-1")
        assert (len(servicer.served.streams), servicer.closed) == (0, 2)
        await refused(follow(channel), "NAMESPACE_CHANGED", "after-1")


async def test_a_stream_without_a_position_names_none() -> None:
    servicer = Lasting()
    async with serving(servicer) as (_, address), grpc.aio.insecure_channel(address) as channel:
        call = follow(channel)
        while not servicer.served.streams:
            await asyncio.sleep(0.001)
        servicer.served.streams.end_open(GONE)
        await refused(call, "NAMESPACE_CHANGED", None)


async def test_a_drain_ends_streams_when_it_begins() -> None:
    servicer = Lasting()
    async with serving(servicer) as (server, address), grpc.aio.insecure_channel(address) as channel:
        call = follow(channel)
        servicer.queue.put_nowait(b"1")
        assert await anext(aiter(call)) == b"1"
        began = time.monotonic()
        stop = asyncio.ensure_future(server.stop(20))
        await refused(call, "DRAINING", "after-1")
        assert await stop == 0, "no call had to be ended by force"
        assert time.monotonic() - began < 5


async def test_the_end_of_a_connections_age_ends_streams_with_a_status() -> None:
    servicer = Lasting()
    async with serving(servicer, max_age_s=0.3) as (_, address), grpc.aio.insecure_channel(address) as channel:
        call = follow(channel)
        servicer.queue.put_nowait(b"1")
        assert await anext(aiter(call)) == b"1"
        await refused(call, "DRAINING", "after-1")


async def test_a_caller_who_reads_slowly_is_not_cut_off() -> None:
    servicer = Lasting()
    options = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0)]
    async with serving(servicer, zero_window_timeout_s=0.3) as (_, address), grpc.aio.insecure_channel(
            address, options=options) as channel:
        call = follow(channel)
        messages = aiter(call)
        for _ in range(64):
            servicer.queue.put_nowait(bytes(65536))
        assert len(await anext(messages)) == 65536
        await asyncio.sleep(1.2)
        assert not call.done()
        assert servicer.sent < 64, "it was blocked"
        for _ in range(63):
            assert len(await asyncio.wait_for(anext(messages), 5)) == 65536


async def test_a_caller_who_takes_nothing_is_left_behind() -> None:
    servicer = Lasting()
    options = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0)]
    async with serving(servicer) as (_, address), grpc.aio.insecure_channel(address, options=options) as channel:
        call = follow(channel)
        for _ in range(64):
            servicer.queue.put_nowait(bytes(65536))
        assert len(await anext(aiter(call))) == 65536
        await asyncio.sleep(0.2)
        servicer.served.streams.end(GONE)
        async with asyncio.timeout(5):
            while len(servicer.served.streams) or not servicer.closed:
                await asyncio.sleep(0.01)


async def test_a_caller_who_cancels_closes_the_source() -> None:
    servicer = Lasting()
    async with serving(servicer) as (_, address), grpc.aio.insecure_channel(address) as channel:
        call = follow(channel)
        servicer.queue.put_nowait(b"1")
        assert await anext(aiter(call)) == b"1"
        call.cancel()
        async with asyncio.timeout(5):
            while len(servicer.served.streams) or not servicer.closed:
                await asyncio.sleep(0.01)
