"""The two verdicts of a step on a message that is consumed, in each model: nothing is lost, nothing is blocked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.contracts.steps import PassingMessage
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.messages import ERROR_HEADER
from prism_proxy.models.pubsub.model import PubSubModel
from prism_proxy.models.pubsub.options import PubSubOptions
from prism_proxy.models.queue.model import Item, QueueModel
from prism_proxy.models.queue.options import QueueOptions
from prism_proxy.models.stream.model import StreamModel, WantedRecord
from prism_proxy.models.stream.options import StreamOptions
from prism_proxy.slots.chain import Chain
from prism_proxy.slots.composition import Surroundings
from prism_proxy.slots.slot import Slot


class Reversing:
    """Turns payloads round. `broken` ones never open; while `away` none does."""

    values = None

    def __init__(self) -> None:
        self.away = False
        self.messages = self

    async def open(self) -> None: ...

    async def publish(self, message: PassingMessage) -> None:
        message.payload = message.payload[::-1]
        message.notes["turned"] = "yes"

    async def consume(self, message: PassingMessage) -> None:
        if self.away:
            raise PrismError(StatusCode.UNAVAILABLE, "KEYS_AWAY", "the keys are away", retry_after=0.1)
        if message.payload == b"nekorb":
            raise PrismError(StatusCode.INTERNAL, "NOT_OURS", "it does not open")
        assert message.notes == {"turned": "yes"}
        message.payload = message.payload[::-1]


class OnlyValues:
    """A step that messages cannot pass."""

    messages = None

    @property
    def values(self) -> OnlyValues:
        return self

    async def open(self) -> None: ...


@pytest.fixture
def step() -> Reversing:
    return Reversing()


@pytest.fixture
async def slot() -> AsyncIterator[Slot[Any]]:
    driver = MemstoreDriver(MemstoreConfig())
    await driver.open()
    yield Slot("store", "ns", driver)
    await driver.close()


def around(step: Any) -> Surroundings:
    return Surroundings("ns", chain=Chain({"turn": step}))


async def test_a_subscription_goes_on_behind_a_message_that_never_opens(slot: Slot[Any], step: Reversing) -> None:
    model = PubSubModel(slot, PubSubOptions(), around(step))
    subscriber = await model.subscribe("t", "", {"max_messages": "1"})
    await model.publish("t", b"broken", {})
    await model.publish("t", b"fine", {})
    assert [found.payload async for found in model.messages(subscriber)] == [b"fine"]


async def test_a_subscription_waits_while_a_step_has_not_what_it_needs(slot: Slot[Any], step: Reversing) -> None:
    model = PubSubModel(slot, PubSubOptions(), around(step))
    subscriber = await model.subscribe("t", "", {"max_messages": "1"})
    step.away = True
    await model.publish("t", b"fine", {})
    reading = asyncio.ensure_future(anext(model.messages(subscriber)))
    await asyncio.sleep(0.1)
    assert not reading.done()
    assert "KEYS_AWAY" in model.health().message
    step.away = False
    assert (await asyncio.wait_for(reading, 5)).payload == b"fine"
    assert model.health().message == ""


async def test_a_queue_buries_what_never_opens_and_keeps_what_cannot_open_now(
    slot: Slot[Any], step: Reversing
) -> None:
    model = QueueModel(slot, QueueOptions(max_receives=5), around(step))
    await model.enqueue("q", Item(b"broken", {}))
    await model.enqueue("q", Item(b"fine", {}))
    assert [found.opened.payload for found in await model.lease("q", 10, 30, 0)] == [b"fine"]
    [dead] = await slot.driver.queue.peek("q.dlq", 10, 0.0)
    assert (dead.data, dead.headers[ERROR_HEADER]) == (b"nekorb", "turn: NOT_OURS")

    await model.enqueue("r", Item(b"later", {}))
    step.away = True
    for attempt in (model.lease("r", 1, 30, 0), ):
        with pytest.raises(PrismError, match="KEYS_AWAY"):
            await attempt
    step.away = False
    assert [found.opened.payload for found in await model.dequeue("r", 1, 3000)] == [b"later"]
    assert await model.dequeue("r", 1, 0) == []


async def test_a_read_skips_and_a_group_buries_what_never_opens(slot: Slot[Any], step: Reversing) -> None:
    model = StreamModel(slot, StreamOptions(), around(step))
    await model.append("s", [WantedRecord(b"", payload, {}) for payload in (b"broken", b"fine")])
    opened = await model.read("s", 0, 0, {})
    assert [seen.payload async for _, seen in opened.records()] == [b"fine"]
    await model.create_group("s", "g", 0)
    member, _ = await model.join("s", "g", "", 0, {"max_messages": "1"})
    assert [seen.payload async for _, seen in member.records()] == [b"fine"]
    assert (await slot.driver.stream.latest_offset("s.dlq", 0)) > 0


async def test_nothing_is_stored_in_plaintext_where_values_are_changed(slot: Slot[Any]) -> None:
    surroundings = around(OnlyValues())
    with pytest.raises(PrismError, match="ENCRYPTED_NAMESPACE"):
        await PubSubModel(slot, PubSubOptions(), surroundings).publish("t", b"p", {})
    with pytest.raises(PrismError, match="ENCRYPTED_NAMESPACE"):
        await QueueModel(slot, QueueOptions(), surroundings).enqueue("q", Item(b"p", {}))
    with pytest.raises(PrismError, match="ENCRYPTED_NAMESPACE"):
        await StreamModel(slot, StreamOptions(), surroundings).append("s", [WantedRecord(b"", b"v", {})])
