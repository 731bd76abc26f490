"""Live topics over the wire: PSB and PSW of the specification, and batches. `topic_log_suites` has those with logs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc

from prism_proxy.errors import StatusCode
from prism_proxy.testing.contracts.messaging_wire import Messaging, fails, several

BASIC, WILDCARDS, BATCH = "pubsub_basic", "pubsub_wildcards", "pubsub_batch"
NO_NAMES = ("", "a..b", ".a", "a.", "$SYS.a", "_INBOX.a", "__x", "a b", "a\nb", "a\x00b", "x" * 256)


async def payloads(call: Any, count: int) -> list[bytes]:
    """Those of the next so many messages."""
    async with asyncio.timeout(10):
        return [message.payload for message in await several(call, count)]


async def ended(call: Any) -> grpc.StatusCode:
    """The status of a call that has no more messages."""
    async with asyncio.timeout(10):
        assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined]  # its stubs lack it
        found: grpc.StatusCode = await call.code()
    return found


class PubSubBasicSuite:
    async def test_PSB_a_message_reaches_every_subscriber_once(self, messaging: Messaging) -> None:
        first, second, other = [await messaging.subscribe(topic) for topic in ("orders", "orders", "invoices")]
        before = time.time_ns() // 1_000_000
        ids = [await messaging.publish("orders", b"%d" % number) for number in range(10)]
        await messaging.publish("invoices", b"mark")
        for call in (first, second):
            found = await several(call, 10)
            assert [message.payload for message in found] == [b"%d" % number for number in range(10)]
            assert [message.message_id for message in found] == ids
            assert {message.topic for message in found} == {"orders"}
            assert all(before - 1 <= message.timestamp <= before + 60_000 for message in found)
        assert await payloads(other, 1) == [b"mark"]
        assert ids == sorted(ids)
        assert {uuid.UUID(each).version for each in ids} == {7}

    async def test_PUB4_ten_publishers_lose_nothing(self, messaging: Messaging) -> None:
        calls = [await messaging.subscribe("t") for _ in range(2)]

        async def publish(publisher: int) -> None:
            for number in range(10):
                await messaging.publish("t", b"%d %d" % (publisher, number))

        await asyncio.gather(*(publish(publisher) for publisher in range(10)))
        for call in calls:
            found = [tuple(map(int, payload.split())) for payload in await payloads(call, 100)]
            assert sorted(found) == [(publisher, number) for publisher in range(10) for number in range(10)]
            for publisher in range(10):
                assert [number for by, number in found if by == publisher] == list(range(10))

    async def test_PSB_nothing_published_before_the_subscription_arrives(self, messaging: Messaging) -> None:
        await messaging.publish("t", b"before")
        call = await messaging.subscribe("t")
        await messaging.publish("t", b"after")
        assert await payloads(call, 1) == [b"after"]

    async def test_PSB_metadata_travels_unchanged(self, messaging: Messaging) -> None:
        call = await messaging.subscribe("t")
        sent = {"Key": "välue", "prism-content-type": "text/plain", "prism-priority": "7",
                "prism-correlation-id": "c-1", "prism-ttl-seconds": "100"}
        await messaging.publish("t", b"\x00\xff", sent)
        [message] = await several(call, 1)
        assert message.payload == b"\x00\xff"
        assert {key: message.metadata[key] for key in sent} == sent
        assert message.metadata["prism-encoding"] == "none"
        assert message.metadata["prism-published-at"].endswith("Z")

    async def test_PSB_unsubscribe_ends_with_ok(self, messaging: Messaging) -> None:
        call = await messaging.subscribe("t", subscriber_id="me")
        assert (await messaging[BASIC].Unsubscribe(topic="t", subscriber_id="me")).success
        assert await ended(call) is StatusCode.OK
        with fails(StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"):
            await messaging[BASIC].Unsubscribe(topic="t", subscriber_id="me")

    async def test_PSB_a_later_subscriber_of_the_same_id_replaces_the_earlier(self, messaging: Messaging) -> None:
        earlier = await messaging.subscribe("t", subscriber_id="me")
        later = await messaging.subscribe("t", subscriber_id="me")
        with fails(StatusCode.ABORTED, "SUBSCRIBER_REPLACED"):
            await earlier.read()
        await messaging.publish("t", b"1")
        assert await payloads(later, 1) == [b"1"]

    async def test_PSB_bounds_of_a_subscription(self, messaging: Messaging) -> None:
        few = await messaging.subscribe("t", options={"max_messages": "2"})
        short = await messaging.subscribe("t", options={"max_duration": "200ms"})
        for number in range(3):
            await messaging.publish("t", b"%d" % number)
        assert len(await several(few, 2)) == 2
        assert await ended(few) is StatusCode.OK
        await several(short, 3)
        assert await ended(short) is StatusCode.OK

    async def test_PSB_a_cancelled_subscriber_costs_nobody_anything(self, messaging: Messaging) -> None:
        calls = [await messaging.subscribe("t") for _ in range(5)]
        for call in calls[1:]:
            call.cancel()
        for number in range(20):
            await messaging.publish("t", b"%d" % number)
        assert len(await payloads(calls[0], 20)) == 20

    async def test_PSB_what_is_refused(self, messaging: Messaging) -> None:
        for topic in (*NO_NAMES, "a.*", "a.>", "a*b"):
            with fails(StatusCode.INVALID_ARGUMENT):
                await messaging[BASIC].Publish(topic=topic)
            with fails(StatusCode.INVALID_ARGUMENT):
                await messaging[BASIC].Subscribe(topic=topic).read()


class PubSubWildcardsSuite:
    async def test_PSW_patterns(self, messaging: Messaging) -> None:
        star, rest, everything = [await messaging.follow(pattern) for pattern in ("a.*.c", "a.>", ">")]
        exact = await messaging.subscribe("a.b.c")
        topics = ["a.b.c", "a.x.c", "a.b", "b.b.c", "a.b.c.d"]
        for topic in topics:
            await messaging.publish(topic, topic.encode())
        for call, expected in ((star, ["a.b.c", "a.x.c"]), (rest, ["a.b.c", "a.x.c", "a.b", "a.b.c.d"]),
                               (everything, topics), (exact, ["a.b.c"])):
            assert [message.topic for message in await several(call, len(expected))] == expected

    async def test_PSW_what_is_refused(self, messaging: Messaging) -> None:
        for pattern in (*NO_NAMES, "a.>.b", "a.b*", "a.>x"):
            with fails(StatusCode.INVALID_ARGUMENT):
                await messaging[WILDCARDS].SubscribePattern(pattern=pattern).read()


class PubSubBatchSuite:
    async def test_PBB_batches_have_a_result_an_item(self, messaging: Messaging) -> None:
        call = await messaging.subscribe("t")
        reply = await messaging[BATCH].PublishBatch(requests=[
            {"topic": topic, "payload": b"%d" % at} for at, topic in enumerate(("t", "t", "bad topic", "t"))])
        assert [result.success for result in reply.results] == [True, True, False, True]
        assert not reply.all_success
        assert "space" in reply.results[2].error
        assert await payloads(call, 3) == [b"0", b"1", b"3"]

    async def test_PBB_a_stream_of_publishes_is_answered_in_order(self, messaging: Messaging) -> None:
        call = await messaging.subscribe("t")
        request = messaging[BATCH].requests["PublishStream"]

        async def requests() -> AsyncIterator[Any]:
            for number in range(1000):
                yield request(topic="t", payload=b"%d" % number)

        answered: list[Any] = []
        async with asyncio.timeout(20):
            async for reply in messaging[BATCH].calls["PublishStream"](requests()):
                answered += reply.results
                assert reply.answered == len(answered)
        assert len(answered) == 1000
        assert all(result.success for result in answered)
        found = await several(call, 1000)
        assert [message.message_id for message in found] == [result.message_id for result in answered]
