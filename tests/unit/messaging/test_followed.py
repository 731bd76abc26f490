"""Steps that follow messages hear of each of them how it ended: at the backend, nowhere, or nobody knows."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from prism_proxy.contracts.steps import Offloaded, PassingMessage
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.framing import Framing
from prism_proxy.models.messages import Carrier, DeliveryClass, Guarantee, Traits
from prism_proxy.models.publishing import Publishing, merged
from prism_proxy.models.queue.followed import LastReceive, join, split
from prism_proxy.slots.chain import Chain
from prism_proxy.slots.composition import Surroundings
from prism_proxy.steps.validate.options import ValidationOptions
from prism_proxy.steps.validate.validation import Counts, Validation

PARTS = Traits(Carrier.PARTS, DeliveryClass(Guarantee.AT_LEAST_ONCE, "nothing", "nothing"))
NOT_EXECUTED = PrismError(StatusCode.UNAVAILABLE, "AWAY", "", {"outcome": "not_executed"})
UNKNOWN = PrismError(StatusCode.UNAVAILABLE, "BROKE", "", {"outcome": "unknown"})


class Follower:
    """A step with messages that follows them."""

    values = None
    max_bytes, inline_bytes, only_group, only_durable = 1000, 10, "", ""

    def __init__(self, error: PrismError | None = None) -> None:
        self.heard: list[tuple[str, str]] = []
        self.error = error

    @property
    def messages(self) -> Follower:
        return self

    async def open(self) -> None: ...

    async def publish(self, message: PassingMessage) -> None:
        message.token = message.payload.decode()

    async def consume(self, message: PassingMessage) -> None: ...

    async def stored(self, message: PassingMessage) -> None:
        self.heard.append(("stored", message.token))
        if self.error is not None:
            raise self.error

    async def dropped(self, message: PassingMessage, *, unknown: bool) -> None:
        self.heard.append(("unknown" if unknown else "dropped", message.token))

    async def dying(self, message: PassingMessage) -> None: ...

    async def settled(self, topic: str, token: str) -> None: ...


class Refusing:
    """Stands behind it, and refuses."""

    values = None

    @property
    def messages(self) -> Refusing:
        return self

    async def publish(self, message: PassingMessage) -> None:
        raise NOT_EXECUTED

    async def consume(self, message: PassingMessage) -> None: ...


def publishing(*steps: Any) -> Publishing:
    chain = Chain({str(number): step for number, step in enumerate(steps)})
    return Publishing(Framing(Surroundings(chain=chain), PARTS))


async def test_what_the_backend_has_is_stored_and_what_it_refused_or_had_already_is_dropped() -> None:
    step = Follower()
    async with publishing(step) as call:
        framed = [await call.frame("t", name, {}) for name in (b"a", b"b", b"c", b"d")]
        results = [framed[0].message_id, NOT_EXECUTED, "an earlier message", UNKNOWN]
        assert await call.stored(results) == [None] * 4
    assert step.heard == [("stored", "a"), ("dropped", "b"), ("dropped", "c"), ("unknown", "d")]


@pytest.mark.parametrize(("error", "heard"), [
    (NOT_EXECUTED, "dropped"), (UNKNOWN, "unknown"), (asyncio.CancelledError(), "unknown")])
async def test_a_call_that_fails_says_so_of_all_its_messages(error: BaseException, heard: str) -> None:
    step = Follower()

    async def call() -> None:
        async with publishing(step) as messages:
            await messages.frame("t", b"a", {})
            await messages.frame("t", b"b", {})
            raise error

    with pytest.raises(type(error)):
        await call()
    assert step.heard == [(heard, "a"), (heard, "b")]


async def test_a_message_that_a_later_step_or_a_rule_refuses_is_dropped() -> None:
    step = Follower()
    async with publishing(step, Refusing()) as call:
        with pytest.raises(PrismError):
            await call.frame("t", b"a", {})
    async with publishing(step) as call:
        with pytest.raises(PrismError):
            await call.frame("t", b"b", {"prism-data-classification": "restricted"})
    assert step.heard == [("dropped", "a"), ("dropped", "b")]


async def test_the_publisher_hears_what_a_step_could_not_keep() -> None:
    async with publishing(Follower(UNKNOWN)) as call:
        framed = await call.frame("t", b"a", {})
        with pytest.raises(PrismError) as caught:
            await call.one_stored(framed.message_id)
    assert caught.value is UNKNOWN
    assert merged(["", NOT_EXECUTED, ""], ["id-1", "id-2"], [None, UNKNOWN]) == ["id-1", NOT_EXECUTED, UNKNOWN]


async def test_a_step_that_takes_payloads_away_raises_the_bound() -> None:
    framing = Framing(Surroundings(chain=Chain({"f": Follower()})), PARTS)
    assert framing.chain.max_bytes == 1000
    assert framing.followed
    assert not Framing(Surroundings(), PARTS).followed


def test_a_receipt_carries_the_token_of_a_step() -> None:
    assert split(join("dr~iver", "queue/claim")) == ("dr~iver", "queue/claim")
    assert split(join("driver", "")) == ("driver", "")
    assert split("driver") == ("driver", "")


async def test_the_number_of_receives_is_asked_for_once_in_a_while() -> None:
    class Driver:
        asked = 0

        async def dead_letters(self, queue: str) -> Any:
            self.asked += 1
            return type("DeadLetters", (), {"max_receives": 3 if queue == "q" else 0})

    driver = Driver()
    found = LastReceive(driver.dead_letters)
    assert [await found.most("q"), await found.most("q"), await found.most("r")] == [3, 3, float("inf")]
    assert driver.asked == 2

    async def away(queue: str) -> Any:
        raise UNKNOWN

    assert await LastReceive(away).most("q") == 0  # then every delivery may be the last


@pytest.mark.parametrize("on_failure", ["reject", "warn"])
def test_a_streamed_payload_is_counted_unvalidated_and_refused_where_validation_rejects(on_failure: str) -> None:
    counts = Counts()
    validation = Validation("shop", ValidationOptions(publish_time=True, on_validation_failure=on_failure), counts)
    validation.use(cast("Any", None), cast("Any", lambda payload: ["a claim is no payload"]))
    message = PassingMessage("t", "id", Offloaded(b"claim", "id", "t/claim"))
    if on_failure == "reject":
        with pytest.raises(PrismError, match="streamed"):
            validation.message(message)
    else:
        validation.message(message)
    assert (counts.unvalidated, counts.violated) == (1, 0)
