"""pubsub_persistent, pubsub_filtering and pubsub_ordering over the wire: PSP, PSF and PSO of the specification."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from prism_proxy.errors import StatusCode
from prism_proxy.testing.contracts.messaging_wire import Messaging, fails, several

LOGS = "pubsub_persistent"


async def _publish(messaging: Messaging, *payloads: bytes, topic: str = "t") -> list[Any]:
    return [await messaging[LOGS].PublishPersistent(topic=topic, payload=payload) for payload in payloads]


class TopicLogSuite:
    async def test_PSP_a_durable_subscription_goes_on_where_it_was(self, messaging: Messaging) -> None:
        async with messaging.durable("t", "d") as call:
            await _publish(messaging, b"1", b"2")
            assert [message.payload for message in await several(call, 2)] == [b"1", b"2"]
        await asyncio.sleep(0.3)  # for the position of what was written
        await _publish(messaging, b"3")
        async with messaging.durable("t", "d") as call:
            assert (await asyncio.wait_for(call.read(), 5)).payload == b"3"

    async def test_PSP_explicit_acknowledgement_moves_the_position(self, messaging: Messaging) -> None:
        options = {"ack": "explicit"}
        async with messaging.durable("t", "d", options=options) as call:
            await _publish(messaging, b"1", b"2", b"3")
            found = await several(call, 3)
            await messaging[LOGS].AckDurable(topic="t", durable_name="d", message_id=found[1].message_id)
            await messaging[LOGS].AckDurable(topic="t", durable_name="d", message_id=found[0].message_id)
        async with messaging.durable("t", "d", options=options) as call:
            assert (await asyncio.wait_for(call.read(), 5)).payload == b"3"

    async def test_PSP_a_new_name_starts_where_it_says(self, messaging: Messaging) -> None:
        done = await _publish(messaging, b"1", b"2", b"3")
        async with messaging.durable("t", "all", from_timestamp=0) as call:
            assert [message.payload for message in await several(call, 3)] == [b"1", b"2", b"3"]
        async with messaging.durable("t", "some", from_message_id=done[1].message_id) as call:
            assert [message.payload for message in await several(call, 2)] == [b"2", b"3"]
        async with messaging.durable("t", "new") as call:
            await _publish(messaging, b"4")
            assert (await asyncio.wait_for(call.read(), 5)).payload == b"4"

    async def test_PSP_sequences_increase_and_the_last_message_is_known(self, messaging: Messaging) -> None:
        empty = await messaging[LOGS].GetLastMessageID(topic="t")
        assert (empty.message_id, empty.sequence) == ("", 0)
        done = await _publish(messaging, b"1", b"2", b"3")
        assert [item.sequence for item in done] == sorted({item.sequence for item in done})
        last = await messaging[LOGS].GetLastMessageID(topic="t")
        assert (last.message_id, last.sequence) == (done[-1].message_id, done[-1].sequence)

    async def test_PSP_live_subscribers_and_the_log_both_get_what_any_method_publishes(
        self, messaging: Messaging
    ) -> None:
        live = messaging["pubsub_basic"].Subscribe(topic="t")
        await live.initial_metadata()
        await _publish(messaging, b"1")
        await messaging["pubsub_basic"].Publish(topic="t", payload=b"2")
        assert [message.payload for message in await several(live, 2)] == [b"1", b"2"]
        live.cancel()
        async with messaging.durable("t", "d", from_timestamp=0) as call:
            assert [message.payload for message in await several(call, 2)] == [b"1", b"2"]

    async def test_PSP_a_later_subscriber_of_the_name_replaces_the_earlier(self, messaging: Messaging) -> None:
        async with messaging.durable("t", "d") as earlier, messaging.durable("t", "d") as later:
            with fails(StatusCode.ABORTED, "SUBSCRIBER_REPLACED"):
                await earlier.read()
            await _publish(messaging, b"1")
            assert (await asyncio.wait_for(later.read(), 5)).payload == b"1"

    async def test_PSP_what_is_not_there(self, messaging: Messaging) -> None:
        with fails(StatusCode.NOT_FOUND, "DURABLE_NOT_FOUND"):
            await messaging[LOGS].AckDurable(topic="t", durable_name="none", message_id="m")
        with fails(StatusCode.INVALID_ARGUMENT):
            async with messaging.durable("t", "") as call:
                await call.read()
        with fails(StatusCode.INVALID_ARGUMENT):
            async with messaging.durable("t", "d", options={"ack": "maybe"}) as call:
                await call.read()
        with fails(StatusCode.INVALID_ARGUMENT):
            async with messaging.durable("t", "d", call_metadata=(("x-prism-resume", "nonsense"),)) as call:
                await call.read()

    async def test_PSP_a_reader_that_pauses_loses_nothing(self, messaging: Messaging) -> None:
        async with messaging.durable("t", "d", options={"buffer_messages": "2"}) as call:
            await _publish(messaging, *(b"%d" % n for n in range(50)))
            await asyncio.sleep(0.2)
            assert [int(message.payload) for message in await several(call, 50)] == list(range(50))


class FilteringSuite:
    async def test_PSF_only_what_matches_is_delivered(self, messaging: Messaging) -> None:
        call = messaging["pubsub_filtering"].SubscribeFiltered(topic="t", filter={"colour": "blue", "size.gte": 3})
        await call.initial_metadata()
        for colour, size in (("red", "5"), ("blue", "2"), ("blue", "3")):
            await messaging["pubsub_filtering"].PublishWithAttributes(
                topic="t", payload=size.encode(), attributes={"colour": colour, "size": size})
        await messaging["pubsub_basic"].Publish(topic="t", payload=b"9", metadata={"colour": "blue", "size": "9"})
        assert [message.payload for message in await several(call, 2)] == [b"3", b"9"]
        call.cancel()

    @pytest.mark.parametrize("wrong", [
        {"colour.regex": "("}, {"colour.regex": "(a+)+$"}, {"$xor": []}, {"$and": "x"}, {"a.in": "x"},
        {"$not": {"$not": {"$not": {"$not": {"$not": {"a": 1}}}}}}, {f"a{n}": 1 for n in range(21)}])
    async def test_PSF_filters_that_are_refused(self, messaging: Messaging, wrong: dict[str, Any]) -> None:
        with fails(StatusCode.INVALID_ARGUMENT):
            await messaging["pubsub_filtering"].SubscribeFiltered(topic="t", filter=wrong).read()


class OrderingSuite:
    async def test_PSO_a_key_keeps_its_order(self, messaging: Messaging) -> None:
        call = messaging["pubsub_basic"].Subscribe(topic="t")
        await call.initial_metadata()
        done = [await messaging["pubsub_ordering"].PublishOrdered(topic="t", payload=b"%d" % n, ordering_key="k")
                for n in range(100)]
        assert [item.sequence for item in done] == sorted({item.sequence for item in done})
        assert [int(message.payload) for message in await several(call, 100)] == list(range(100))
        call.cancel()

    async def test_PSO_a_key_is_needed(self, messaging: Messaging) -> None:
        with fails(grpc.StatusCode.INVALID_ARGUMENT):
            await messaging["pubsub_ordering"].PublishOrdered(topic="t", payload=b"x")
