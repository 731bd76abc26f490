"""A subscriber that takes nothing: what it costs the proxy is bounded, counted, and nobody else's."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import grpc
import pytest

from prism.interfaces.pubsub import pubsub_basic_pb2 as basic
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from tests.integration.test_publish_native import PUBLISH, PUBSUB, serving, take
from tests.services.proxy import ProxyProcess, proxy

PAYLOAD = 2048
RATE, SECONDS = 2000, 3
BUFFER = 1024 * 1024


async def subscribe(channel: grpc.aio.Channel, topic: str = "t", **options: str) -> Any:
    make: Any = channel.unary_stream(
        PUBSUB + "BasicInterface/Subscribe", basic.SubscribeRequest.SerializeToString, basic.Message.FromString)
    call = make(basic.SubscribeRequest(topic=topic, options=options))
    await asyncio.wait_for(call.initial_metadata(), 5)
    return call


async def counter(process: ProxyProcess, name: str) -> int:
    _, text = await process.get("/metrics")
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\d+)", text, re.MULTILINE)
    assert found is not None, name
    return int(found[1])


async def _publish(channel: grpc.aio.Channel, times: dict[bytes, float]) -> None:
    """At the rate, in bursts of 10 ms."""
    publish: Any = channel.unary_unary(
        PUBLISH, basic.PublishRequest.SerializeToString, basic.PublishResponse.FromString)
    began, number = time.monotonic(), 0
    while number < RATE * SECONDS:
        burst = []
        for _ in range(RATE // 100):
            payload = b"%08d" % number + bytes(PAYLOAD - 8)
            times[payload[:8]] = time.monotonic()
            burst.append(publish(basic.PublishRequest(topic="t", payload=payload)))
            number += 1
        await asyncio.gather(*burst)
        await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))


async def test_a_stalled_subscriber_is_bounded_counted_and_costs_nobody() -> None:
    """2,000 messages a second for 3 s, 12 MB of which the stalled one gets what its buffer holds."""
    small = [("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)]
    async with proxy() as process:
        async with (grpc.aio.insecure_channel(process.address) as channel,
                    grpc.aio.insecure_channel(process.address, options=small) as other):
            stalled = await subscribe(other, slow_subscriber="drop", buffer_bytes=str(BUFFER))
            healthy = await subscribe(channel)
            sent: dict[bytes, float] = {}
            late: list[float] = []

            async def read() -> None:
                for _ in range(RATE * SECONDS):
                    message = await healthy.read()
                    late.append(time.monotonic() - sent[message.payload[:8]])

            before = process.resident_bytes()
            await asyncio.wait_for(asyncio.gather(_publish(channel, sent), read()), 60)
            grown = process.resident_bytes() - before
            dropped = await counter(process, "prism_pubsub_dropped_total")
            held = await counter(process, "prism_pubsub_queued_bytes")
            assert BUFFER <= held <= BUFFER + PAYLOAD + 1024
            assert grown < BUFFER + 8 * 1024 * 1024
            assert dropped > RATE * SECONDS // 2
            assert sorted(late)[len(late) // 2] < 0.5
            got = await take(stalled, RATE * SECONDS - dropped)
            assert [message.payload[:8] for message in got] == [b"%08d" % number for number in range(len(got))]
        async with asyncio.timeout(5):
            while await counter(process, "prism_pubsub_queued_bytes"):
                await asyncio.sleep(0.05)


async def test_all_subscribers_of_a_process_share_a_bound() -> None:
    """Each has its own buffer, and together they hold no more than the process allows; who reads gets everything."""
    async with proxy("--pubsub-buffer-total", "1MiB") as process, \
            grpc.aio.insecure_channel(process.address) as channel:
        stalled = [await subscribe(channel) for _ in range(5)]
        healthy = await subscribe(channel)
        publish: Any = channel.unary_unary(
            PUBLISH, basic.PublishRequest.SerializeToString, basic.PublishResponse.FromString)
        for _ in range(100):
            await publish(basic.PublishRequest(topic="t", payload=bytes(256 * 1024)))
            assert (await asyncio.wait_for(healthy.read(), 5)).payload
        assert await counter(process, "prism_pubsub_queued_bytes") <= (1024 + 6 * 257) * 1024
        assert await counter(process, "prism_pubsub_buffer_total_hits_total") > 0
        assert await counter(process, "prism_pubsub_dropped_total") > 0
        for call in stalled:
            call.cancel()


@pytest.mark.parametrize("native", [True, False])
async def test_who_is_too_slow_is_ended_with_what_it_held(*, native: bool) -> None:
    async with serving(native=native) as side:
        call = await subscribe(side.channel, slow_subscriber="disconnect", buffer_messages="3")
        publish: Any = side.channel.unary_unary(
            PUBLISH, basic.PublishRequest.SerializeToString, basic.PublishResponse.FromString)
        for _ in range(200):
            await publish(basic.PublishRequest(topic="t", payload=bytes(256 * 1024)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await take(call, 200)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 messages" in str(caught.value.details())


@pytest.mark.parametrize("native", [True, False])
async def test_a_message_that_expires_in_the_buffer_is_not_delivered(*, native: bool) -> None:
    """It waits behind what the reader does not take, for longer than it lives."""
    async with serving(native=native) as side:
        call = await subscribe(side.channel)
        publish: Any = side.channel.unary_unary(
            PUBLISH, basic.PublishRequest.SerializeToString, basic.PublishResponse.FromString)
        for _ in range(60):
            await publish(basic.PublishRequest(topic="t", payload=bytes(256 * 1024)))
        await publish(basic.PublishRequest(topic="t", payload=b"short", metadata={"prism-ttl-seconds": "1"}))
        await publish(basic.PublishRequest(topic="t", payload=b"last"))
        await asyncio.sleep(1.2)
        async with asyncio.timeout(20):
            while (message := await call.read()).payload != b"last":
                assert message.payload != b"short"


async def test_max_messages_and_unsubscribe_end_a_subscription_after_what_it_has() -> None:
    async with serving(native=True) as side:
        counted = await subscribe(side.channel, max_messages="3")
        left = await subscribe(side.channel, "u")
        publish: Any = side.channel.unary_unary(
            PUBLISH, basic.PublishRequest.SerializeToString, basic.PublishResponse.FromString)
        for topic in "tttttuu":
            await publish(basic.PublishRequest(topic=topic, payload=b"1"))
        assert len(await take(counted, 3)) == 3
        assert await asyncio.wait_for(counted.read(), 5) is grpc.aio.EOF
        assert await counted.code() is grpc.StatusCode.OK
        model = side.activator._namespaces.current.routes[DEFAULT].implementation("pubsub_basic")
        [(topic, name)] = model._state.open
        model.unsubscribe(topic, name)
        assert len(await take(left, 2)) == 2
        assert await asyncio.wait_for(left.read(), 5) is grpc.aio.EOF
        assert await left.code() is grpc.StatusCode.OK


async def test_a_change_of_the_configuration_leaves_subscriptions_open() -> None:
    async with serving(native=True) as side:
        call = await subscribe(side.channel)
        await side.activator.apply([NamespaceConfig.of_store(DEFAULT, "memstore", MemstoreConfig(max_bytes=2**24))])
        publish: Any = side.channel.unary_unary(
            PUBLISH, basic.PublishRequest.SerializeToString, basic.PublishResponse.FromString)
        await publish(basic.PublishRequest(topic="t", payload=b"1"))
        assert (await take(call, 1))[0].payload == b"1"
