"""PublishStream and PublishBatch over Redis without Python: every message once, its result in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from prism.interfaces.pubsub import pubsub_basic_pb2 as basic
from prism.interfaces.pubsub import pubsub_batch_pb2 as batch
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.models.pubsub.model import PubSubModel
from prism_proxy.slots.options import ConcurrencyOptions, SlotOptions
from tests.integration.test_publish_native import PUBSUB, Side, serving, take
from tests.services import redis as service
from tests.support.redis_stand_in import RedisStandIn

real = pytest.mark.skipif(service.binary() is None, reason="redis-server is not to be had")


@pytest.fixture
def no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a message was published by Python")

    monkeypatch.setattr(PubSubModel, "publish_batch", refuse)


def over(url: str, **more: Any) -> dict[str, Any]:
    """How `serving` gets one connection to a server, as `more` says."""
    permits = more.pop("permits", 16)
    limits = ConcurrencyOptions(min_limit=permits, initial_limit=permits, max_limit=permits)
    return {"backend": "redis", "settings": RedisConfig(url=url, connections=1, **more),
            "resilience": SlotOptions(concurrency=limits)}


def message(number: int, topic: str = "t", **metadata: str) -> Any:
    return basic.PublishRequest(topic=topic, payload=b"%d" % number, metadata=metadata)


async def publish_batch(side: Side, requests: Sequence[Any], **more: Any) -> Any:
    make: Any = side.channel.unary_unary(
        PUBSUB + "BatchInterface/PublishBatch", batch.PublishBatchRequest.SerializeToString,
        batch.PublishBatchResponse.FromString)
    return await make(batch.PublishBatchRequest(requests=requests), **more)


async def publish_stream(side: Side, requests: Sequence[Any]) -> list[Any]:
    """The results, of which replies say how many there are."""

    async def each() -> AsyncIterator[Any]:
        for request in requests:
            yield request

    results: list[Any] = []
    async with asyncio.timeout(20):
        async for reply in side.stream(each()):
            results += reply.results
            assert reply.answered == len(results)
    return results


async def publish(side: Side, way: str, requests: Sequence[Any]) -> list[Any]:
    if way == "stream":
        return await publish_stream(side, requests)
    reply = await publish_batch(side, requests)
    assert reply.all_success == all(result.success for result in reply.results)
    return list(reply.results)


ways = pytest.mark.parametrize("way", ["stream", "batch"])


@real
@ways
@pytest.mark.usefixtures("no_python")
async def test_messages_are_published_in_order_without_python(way: str) -> None:
    requests = [message(number, f"t.{number % 7}", colour=str(number)) for number in range(3000)]
    async with service.RedisServer() as server, serving(native=True, backend="redis",
                                                         settings=RedisConfig(url=server.url)) as side:
        call = await side.subscribe("t.*", method="Wildcards", options={"buffer_messages": "10000"})
        results = await publish(side, way, requests)
        found = {each.message_id: each for each in await take(call, len(requests))}
        assert len(found) == len(results) == len(requests)
        for request, result in zip(requests, results, strict=True):
            delivered = found[result.message_id]
            assert (delivered.topic, delivered.payload, delivered.metadata["colour"]) == (
                request.topic, request.payload, request.metadata["colour"])
        by_topic = [each.payload for each in found.values() if each.topic == "t.3"]
        assert by_topic == sorted(by_topic, key=int)


@real
@pytest.mark.parametrize("odd", [(), (0,), (500,), (999,), (3, 700)], ids=str)
async def test_a_stream_is_answered_in_order_whoever_serves_it(odd: Sequence[int]) -> None:
    """At a request that native code declines the servicer takes over, behind what is on its way."""
    requests = [message(number, **({"prism-ttl-seconds": "60"} if number in odd else {})) for number in range(1000)]
    async with service.RedisServer() as server, serving(native=True, backend="redis",
                                                         settings=RedisConfig(url=server.url)) as side:
        call = await side.subscribe("t")
        results = await publish_stream(side, requests)
        found = await take(call, 1000)
        assert [each.payload for each in found] == [request.payload for request in requests]
        assert [each.message_id for each in found] == [result.message_id for result in results]


def payload_of(command: list[bytes]) -> bytes:
    from prism.envelope.v1 import envelope_pb2

    return bytes(envelope_pb2.PrismEnvelope.FromString(command[2]).payload.value)


@ways
async def test_what_redis_refuses_is_told_in_its_place_as_the_servicer_does(way: str) -> None:
    def answer(command: list[bytes]) -> bytes:
        if command[0] != b"PUBLISH":
            return b"+OK\r\n"
        return b"-NOPERM no permissions to access a channel\r\n" if int(payload_of(command)) % 5 == 0 else b":0\r\n"

    said = {}
    for native in (True, False):
        async with RedisStandIn(answer) as server, serving(native=native, **over(server.url)) as side:
            results = await publish(side, way, [message(number) for number in range(100)])
            said[native] = [(result.success, result.error, len(result.message_id)) for result in results]
    assert said[True] == said[False]
    assert [each[0] for each in said[True]] == [bool(number % 5) for number in range(100)]


@ways
async def test_a_connection_lost_on_the_way_fails_what_it_had_and_nothing_is_sent_twice(way: str) -> None:
    sent: list[bytes] = []

    def answer(command: list[bytes]) -> bytes:
        if command[0] != b"PUBLISH":
            return b"+OK\r\n"
        sent.append(payload_of(command))
        if len(sent) == 50:
            raise ConnectionResetError
        return b":0\r\n"

    async with RedisStandIn(answer) as server, serving(native=True, **over(server.url)) as side:
        results = await publish(side, way, [message(number) for number in range(200)])
        assert len(results) == 200
        assert len(set(sent)) == len(sent)
        stored = {b"%d" % number for number, result in enumerate(results) if result.success}
        assert stored <= set(sent)
        failed = [result.error for result in results if not result.success]
        assert failed
        assert all("Redis" in error or "redis" in error for error in failed), failed[:3]
        async with asyncio.timeout(10):  # it is there again
            while not all(result.success for result in await publish(side, way, [message(1), message(2)])):
                await asyncio.sleep(0.05)


@ways
@pytest.mark.parametrize("bound", ["room", "permits"])
async def test_what_has_no_room_waits_and_keeps_its_order(way: str, bound: str) -> None:
    sent: list[bytes] = []
    most = 0

    def answer(command: list[bytes]) -> bytes:
        nonlocal most
        if command[0] == b"PUBLISH":
            sent.append(payload_of(command))
        return b":0\r\n" if command[0] == b"PUBLISH" else b"+OK\r\n"

    async with RedisStandIn(answer) as server:
        where = over(server.url, max_pending=8, permits=100) if bound == "room" else over(server.url, permits=4)
        async with serving(native=True, **where) as side:
            server.holding = True
            running = asyncio.create_task(publish(side, way, [message(number) for number in range(400)]))
            async with asyncio.timeout(20):
                while not running.done():
                    most = max(most, server.held)
                    if server.held:
                        server.release()
                        server.holding = True
                    await asyncio.sleep(0.001)
            server.release()
            results = await running
    assert all(result.success for result in results)
    assert sent == [b"%d" % number for number in range(400)]
    assert 0 < most <= (8 if bound == "room" else 4)


async def test_a_reload_answers_what_is_on_its_way_and_ends_the_stream() -> None:
    async def requests() -> AsyncIterator[Any]:
        for number in range(10):
            yield message(number)
        await asyncio.Event().wait()

    def answer(command: list[bytes]) -> bytes:
        return b":0\r\n" if command[0] == b"PUBLISH" else b"+OK\r\n"

    async with RedisStandIn(answer) as server, serving(native=True, **over(server.url, permits=5)) as side:
        server.holding = True
        call = side.stream(requests())
        async with asyncio.timeout(5):
            while server.held < 5:
                await asyncio.sleep(0.01)
        change = asyncio.create_task(side.activator.apply([]))
        await asyncio.sleep(0.1)
        server.release()
        assert (await asyncio.wait_for(call.read(), 5)).answered == 5
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), 5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await change


@ways
async def test_deadlines_and_cancels_leave_nothing_behind(way: str) -> None:
    def answer(command: list[bytes]) -> bytes:
        return b":0\r\n" if command[0] == b"PUBLISH" else b"+OK\r\n"

    async with RedisStandIn(answer) as server, serving(native=True, **over(server.url)) as side:
        server.holding = True

        async def endless() -> AsyncIterator[Any]:
            for number in range(100):
                yield message(number)
            await asyncio.Event().wait()

        call: Any
        if way == "stream":
            call = side.stream(endless(), timeout=0.3)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call.read(), 5)
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await publish_batch(side, [message(number) for number in range(100)], timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if way == "stream":
            call = side.stream(endless())
        else:
            call = asyncio.create_task(publish_batch(side, [message(number) for number in range(100)]))
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.sleep(0.1)
        server.release()
        assert all(result.success for result in await publish(side, way, [message(1)]))
