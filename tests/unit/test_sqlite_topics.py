"""Topics of a SQLite namespace, beyond what the contract suites of all backends ask."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import Delivery, StoredMessage
from prism_proxy.models.pubsub.contract import DurableSubscription, PubSubSettings, Subscription
from prism_proxy.testing.clock import FakeClock
from tests.unit.test_sqlite import failure, opened


class Inbox:
    def __init__(self, capacity: int = 100_000) -> None:
        self.capacity = capacity
        self.got: list[Delivery] = []
        self.missing = 0
        self.ended: list[PrismError | None] = []
        self._room = asyncio.Event()

    @property
    def credit(self) -> int:
        return self.capacity - len(self.got)

    def push(self, delivery: Delivery) -> bool:
        if self.credit <= 0:
            self._room.clear()
            return False
        self.got.append(delivery)
        return True

    async def room(self) -> None:
        if self.credit <= 0:
            await self._room.wait()

    def take(self) -> list[bytes]:
        taken, self.got = self.got, []
        self._room.set()
        return [one.data for one in taken]

    def missed(self, count: int | None, why: str) -> None:
        self.missing += count or 0

    def end(self, error: PrismError | None) -> None:
        self.ended.append(error)

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(10):
            while len(self.got) < count:
                await asyncio.sleep(0.005)
        return [one.data for one in self.got]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def driver(path: Path) -> AsyncIterator[SqliteDriver]:
    async with opened(path) as one:
        yield one


def message(data: bytes, *, at: int = 1000, deduplication: str = "", **headers: str) -> StoredMessage:
    return StoredMessage(str(uuid.uuid4()), data, headers, at, 0, deduplication)


async def subscribed(
    driver: SqliteDriver, topic: str, inbox: Inbox, *, pattern: bool = False, group: str = "",
) -> object:
    return await driver.pubsub.subscribe(Subscription(topic, str(uuid.uuid4()), pattern, group), inbox)


async def durable(driver: SqliteDriver, inbox: Inbox, name: str = "d", **start: object) -> object:
    return await driver.pubsub.subscribe_durable(
        DurableSubscription("t", name, **start), inbox)  # type: ignore[arg-type]


async def test_subscribers_get_what_is_published_while_they_are_there(driver: SqliteDriver) -> None:
    exact, wide, other = Inbox(), Inbox(), Inbox()
    await driver.pubsub.publish("a.b", message(b"before"))
    open_exact = await subscribed(driver, "a.b", exact)
    await subscribed(driver, "a.>", wide, pattern=True)
    await subscribed(driver, "a.*.c", other, pattern=True)
    published = await driver.pubsub.publish("a.b", message(b"1", kind="x"))
    assert (published.sequence, published.receivers) == (0, 2)
    await open_exact.close()  # type: ignore[attr-defined]
    assert (await driver.pubsub.publish("a.b", message(b"2"))).receivers == 1
    assert (exact.take(), wide.take(), other.take()) == ([b"1"], [b"1", b"2"], [])


async def test_a_queue_group_shares_and_passes_over_who_is_full(driver: SqliteDriver) -> None:
    members = [Inbox(), Inbox(3), Inbox()]
    for member in members:
        await subscribed(driver, "t", member, group="g")
    alone = Inbox()
    await subscribed(driver, "t", alone)
    for number in range(30):
        assert (await driver.pubsub.publish("t", message(b"%d" % number))).receivers == 2
    shared = [data for member in members for data in member.take()]
    assert sorted(shared, key=int) == alone.take() == [b"%d" % number for number in range(30)]


async def test_a_full_subscriber_holds_its_publisher_and_nobody_else(
    driver: SqliteDriver, monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, quick = Inbox(2), Inbox()
    await subscribed(driver, "t", slow)
    await subscribed(driver, "t", quick)
    for number in range(2):
        await driver.pubsub.publish("t", message(b"%d" % number))
    held = [asyncio.ensure_future(driver.pubsub.publish("t", message(b"%d" % number))) for number in range(2, 6)]
    await asyncio.sleep(0.05)
    assert not any(one.done() for one in held)
    assert len(quick.got) == 6
    seen = []
    while len(seen) < 6:
        seen += slow.take()
        await asyncio.sleep(0.01)
    assert seen == [b"%d" % number for number in range(6)]
    await asyncio.gather(*held)
    monkeypatch.setattr("prism_proxy.backends.sqlite.messaging.live.PUBLISH_WAIT_SECONDS", 0.05)
    for number in range(2):
        await driver.pubsub.publish("t", message(b"%d" % number))
    assert (await failure(driver.pubsub.publish("t", message(b"x")))).reason == "PUBLISH_QUEUE_FULL"


async def test_a_durable_subscription_goes_on_behind_its_position_over_restarts(path: Path) -> None:
    async with opened(path) as driver:
        inbox = Inbox()
        first = await durable(driver, inbox)
        ids = [(await driver.pubsub.publish("t", message(b"%d" % number))).message_id for number in range(4)]
        await inbox.until(4)
        await first.settle(inbox.got[1].position)  # type: ignore[attr-defined]
    async with opened(path) as driver:
        inbox = Inbox()
        await durable(driver, inbox)
        assert await inbox.until(2) == [b"2", b"3"]
        await driver.pubsub.ack_durable("t", "d", ids[2])
        await driver.pubsub.ack_durable("t", "d", ids[0])
        assert (await failure(driver.pubsub.ack_durable("t", "d", "none"))).reason == "MESSAGE_NOT_FOUND"
        assert (await failure(driver.pubsub.ack_durable("t", "x", ids[0]))).reason == "DURABLE_NOT_FOUND"
        again = Inbox()
        await durable(driver, again)
        assert inbox.ended[0] is not None
        assert inbox.ended[0].reason == "SUBSCRIBER_REPLACED"
        assert await again.until(1) == [b"3"]
        await driver.pubsub.publish("t", message(b"4"))
        assert await again.until(2) == [b"3", b"4"]
        assert (await driver.pubsub.last_message("t"))[1] == 5


async def test_where_a_durable_subscription_starts(driver: SqliteDriver) -> None:
    published = [await driver.pubsub.publish_persistent("t", message(b"%d" % number, at=1000 + number))
                 for number in range(5)]
    assert [one.sequence for one in published] == [1, 2, 3, 4, 5]
    for name, start, expected in (
        ("new", {}, []), ("time", {"from_ms": 1003}, [b"3", b"4"]),
        ("old", {"from_ms": 0}, [b"0", b"1", b"2", b"3", b"4"]),
        ("message", {"from_message_id": published[2].message_id}, [b"2", b"3", b"4"]),
        ("unknown", {"from_message_id": "00000000-03ec-7000-8000-000000000000"}, [b"4"]),
        ("after", {"after": b"3", "from_message_id": published[0].message_id}, [b"4"]),
    ):
        inbox = Inbox()
        active = await durable(driver, inbox, name, **start)  # type: ignore[arg-type]
        assert await inbox.until(len(expected)) == expected, name
        await active.close()  # type: ignore[attr-defined]


async def test_a_topic_has_a_log_from_its_first_persistent_message_on(path: Path) -> None:
    async with opened(path) as driver:
        await driver.pubsub.publish("t", message(b"lost"))
        await driver.pubsub.publish_persistent("t", message(b"1"))
        live = Inbox()
        await subscribed(driver, "t", live)
    async with opened(path) as driver:
        assert (await driver.pubsub.publish("t", message(b"2"))).sequence == 2
        await driver.pubsub.publish_ordered("t", "key", message(b"3"))
        inbox = Inbox()
        await durable(driver, inbox, from_ms=0)
        assert await inbox.until(3) == [b"1", b"2", b"3"]


async def test_batches_are_published_in_order_with_a_result_each(driver: SqliteDriver) -> None:
    log, plain = Inbox(), Inbox()
    await durable(driver, Inbox())
    await subscribed(driver, "t", log)
    await subscribed(driver, "u", plain)
    items = [("t" if number % 3 else "u", message(b"%d" % number)) for number in range(30)]
    results = await driver.pubsub.publish_batch(items)
    ids = [one.message_id for one in results if not isinstance(one, PrismError)]
    assert ids == [one.message_id for _, one in items]
    assert log.take() == [one.data for topic, one in items if topic == "t"]
    assert plain.take() == [one.data for topic, one in items if topic == "u"]


@pytest.mark.parametrize("logged", [False, True])
async def test_duplicates_are_answered_with_the_first_id(path: Path, logged: bool) -> None:
    clock = FakeClock()
    async with opened(path, clock) as driver:
        if logged:
            await driver.pubsub.publish_persistent("t", message(b"0"))
        inbox = Inbox()
        await subscribed(driver, "t", inbox)
        first = await driver.pubsub.publish("t", message(b"1", deduplication="d"))
        assert (await driver.pubsub.publish("t", message(b"2", deduplication="d"))).message_id == first.message_id
        await driver.pubsub.publish("u", message(b"2", deduplication="d"))
        await clock.wait(121)
        assert (await driver.pubsub.publish("t", message(b"3", deduplication="d"))).message_id != first.message_id
        assert inbox.take() == [b"1", b"3"]


async def test_a_log_is_bounded_by_the_namespace(driver: SqliteDriver) -> None:
    driver.pubsub.configure(PubSubSettings(log_max_age_s=0, log_max_messages=3))
    for number in range(10):
        await driver.pubsub.publish_persistent("t", message(b"%d" % number))
    await driver.pubsub.keep_up()
    inbox = Inbox()
    await durable(driver, inbox, from_ms=0)
    assert await inbox.until(3) == [b"7", b"8", b"9"]
