"""Queues in a SQLite file, beyond what the contract suites of all backends ask."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.contracts.driver import Health
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import Outcome, QueuedMessage, QueueItem, QueueSettings, Settlement
from prism_proxy.testing.clock import FakeClock
from tests.unit.test_sqlite import failure, opened, writer_held

DONE, RETRY, FAIL = Settlement(Outcome.DONE), Settlement(Outcome.RETRY, "again"), Settlement(Outcome.FAIL, "no good")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def driver(path: Path) -> AsyncIterator[SqliteDriver]:
    async with opened(path) as one:
        yield one


def item(data: bytes, *, priority: int = 5, at: int = 0, expires: int = 0, deduplication: str = "",
         **headers: str) -> QueueItem:
    return QueueItem(StoredMessage(str(uuid.uuid4()), data, headers, 1000, expires, deduplication), priority, at)


async def put(driver: SqliteDriver, *items: QueueItem, queue: str = "q") -> list[str | PrismError]:
    return await driver.queue.enqueue(queue, items)


def data_of(messages: list[QueuedMessage]) -> list[bytes]:
    return [message.data for message in messages]


async def test_messages_come_by_priority_then_arrival_with_all_they_had(driver: SqliteDriver) -> None:
    ids = await put(driver, item(b"1", kind="a"), item(b"2", priority=9), item(b"3", priority=0), item(b"4"))
    assert data_of(await driver.queue.peek("q", 10, 0)) == [b"2", b"1", b"4", b"3"]
    first, second = await driver.queue.lease("q", 2, 30, 0)
    assert (first.data, first.priority, first.receive_count) == (b"2", 9, 1)
    assert (second.data, second.headers, second.message_id, second.enqueued_ms) == (b"1", {"kind": "a"}, ids[0], 1000)
    assert data_of(await driver.queue.take("q", 10, 0)) == [b"4", b"3"]
    assert await driver.queue.settle("q", [first.receipt], DONE) == [None]
    assert (await driver.queue.counts("q"))[:3] == (0, 1, 0)


async def test_odd_headers_and_empty_data_come_back_as_they_were(driver: SqliteDriver) -> None:
    headers = {"plain": "v", "": "empty name", "nul": "a\x00b", "\x01": "mark", "ü": "é", "none": ""}
    await driver.queue.enqueue("q", [QueueItem(StoredMessage("id", b"", headers, 1))])
    (message,) = await driver.queue.take("q", 1, 0)
    assert (message.headers, message.data) == (headers, b"")


async def test_a_lease_that_ends_makes_ready_within_100_ms(driver: SqliteDriver) -> None:
    await put(driver, item(b"1"))
    (first,) = await driver.queue.lease("q", 1, 0.2, 0)
    began = asyncio.get_running_loop().time()
    (second,) = await driver.queue.lease("q", 1, 30, 5)
    assert 0.15 < asyncio.get_running_loop().time() - began < 0.35
    assert second.receive_count == 2
    assert (await driver.queue.settle("q", [first.receipt, "nonsense", "1.", ""], DONE)).count(None) == 0
    assert (await driver.queue.settle("q", [second.receipt], DONE)) == [None]


async def test_a_receipt_is_over_with_its_lease_also_when_nobody_took_the_message(path: Path) -> None:
    clock = FakeClock()
    async with opened(path, clock) as driver:
        await put(driver, item(b"1"))
        (first,) = await driver.queue.lease("q", 1, 10, 0)
        await driver.queue.extend("q", first.receipt, 100)
        await clock.wait(50)
        await driver.queue.extend("q", first.receipt, 10)
        await clock.wait(11)
        assert (await failure(driver.queue.extend("q", first.receipt, 10))).reason == "RECEIPT_EXPIRED"
        (refused,) = await driver.queue.settle("q", [first.receipt], DONE)
        assert refused is not None
        assert refused.reason == "RECEIPT_EXPIRED"
        assert (await failure(driver.queue.extend("other", first.receipt, 10))).reason == "RECEIPT_EXPIRED"


async def test_a_scheduled_message_is_there_within_100_ms_of_its_time(driver: SqliteDriver) -> None:
    now = driver._now_ms()
    await put(driver, item(b"later", at=now + 300), item(b"much later", at=now + 60_000))
    assert await driver.queue.scheduled("q") == (2, now + 300)
    assert await driver.queue.take("q", 1, 0) == []
    (message,) = await driver.queue.take("q", 1, 5)
    assert message.data == b"later"
    assert 0 <= driver._now_ms() - (now + 300) < 100
    assert (await driver.queue.counts("q"))[:3] == (0, 0, 1)


async def test_dead_letters_keep_bytes_and_priority_and_come_back(driver: SqliteDriver) -> None:
    await driver.queue.configure_dead_letter("q", "morgue", 2)
    await put(driver, item(b"poison", priority=8, kind="x"), item(b"bad", kind="y"))
    for _ in range(2):
        messages = await driver.queue.lease("q", 1, 30, 0)
        assert data_of(messages) == [b"poison"]
        await driver.queue.settle("q", [messages[0].receipt], RETRY)
    (bad,) = await driver.queue.lease("q", 1, 30, 0)
    await driver.queue.settle("q", [bad.receipt], FAIL)
    assert await driver.queue.dead_letters("q") == ("morgue", 2, 2)
    first, second = await driver.queue.peek("morgue", 5, 0)
    assert (first.data, first.priority) == (b"poison", 8)
    assert first.headers == {"kind": "x", "x-dlq-source": "q", "x-error": "again", "x-retry-count": "2"}
    assert second.headers["x-error"] == "no good"
    assert await driver.queue.redrive("q", {}, 10, None, dry_run=True) == (2, 0, None)
    assert await driver.queue.redrive("q", {"kind": "y"}, 10, None, dry_run=False) == (1, 1, None)
    (back,) = await driver.queue.take("q", 5, 0)
    assert (back.data, back.headers, back.receive_count) == (b"bad", {"kind": "y"}, 1)
    assert (await driver.queue.dead_letters("q")).depth == 1


async def test_the_default_of_the_namespace_dead_letters_when_the_last_lease_ends(driver: SqliteDriver) -> None:
    driver.queue.configure(QueueSettings(max_receives=1))
    await put(driver, item(b"poison"))
    await driver.queue.lease("q", 1, 0.05, 0)
    (message,) = await driver.queue.take("q.dlq", 1, 5)
    assert message.headers == {"x-dlq-source": "q", "x-error": "its lease ended", "x-retry-count": "1"}
    driver.queue.configure(QueueSettings())
    await put(driver, item(b"gone"))
    (message,) = await driver.queue.lease("q", 1, 30, 0)
    await driver.queue.settle("q", [message.receipt], FAIL)
    assert (await driver.queue.counts("q"))[:3] == (0, 0, 0)


async def test_duplicates_are_answered_with_the_first_id_for_two_minutes(path: Path) -> None:
    clock = FakeClock()
    async with opened(path, clock) as driver:
        first, second = await put(driver, item(b"1", deduplication="d"), item(b"2", deduplication="d"))
        assert first == second
        (other,) = await put(driver, item(b"3", deduplication="d"), queue="other")
        assert other != first
        await clock.wait(121)
        (third,) = await put(driver, item(b"4", deduplication="d"))
        assert third != first
        assert data_of(await driver.queue.take("q", 5, 0)) == [b"1", b"4"]


async def test_a_waiting_call_that_is_cancelled_loses_nothing(driver: SqliteDriver) -> None:
    """Cancelled while it waits, while its write is queued, and while its write is done."""
    waiting = asyncio.ensure_future(driver.queue.take("q", 1, 30))
    await asyncio.sleep(0.05)
    waiting.cancel()
    for call in (driver.queue.take, lambda *given: driver.queue.lease(given[0], given[1], 30, given[2])):
        await put(driver, item(b"1"))
        with writer_held(driver):
            queued = asyncio.ensure_future(call("q", 1, 0))
            await asyncio.sleep(0.01)
            queued.cancel()
            await asyncio.sleep(0)
        for delay in (0.0, 0.0002, 0.001):
            running = asyncio.ensure_future(call("q", 1, 0))
            await asyncio.sleep(delay)
            running.cancel()
            for message in [one for one in await asyncio.gather(running, return_exceptions=True)
                            if isinstance(one, list)]:
                if message and message[0].receipt:
                    await driver.queue.settle("q", [message[0].receipt], RETRY)
                elif message:
                    await put(driver, item(b"1"))
        (message,) = await driver.queue.take("q", 2, 2)
        assert message.data == b"1"


async def test_one_message_wakes_one_of_many_that_wait_and_all_get_theirs(driver: SqliteDriver) -> None:
    waiting = [asyncio.ensure_future(driver.queue.take("q", 1, 10)) for _ in range(20)]
    await asyncio.sleep(0.02)
    await put(driver, *(item(b"%d" % number) for number in range(20)))
    found = [message.data for messages in await asyncio.gather(*waiting) for message in messages]
    assert sorted(found, key=int) == [b"%d" % number for number in range(20)]


async def test_all_is_there_after_a_restart_and_leases_end_in_their_time(path: Path) -> None:
    async with opened(path) as driver:
        await driver.queue.configure_dead_letter("q", "morgue", 5)
        await put(driver, item(b"leased"), item(b"ready"), item(b"later", at=driver._now_ms() + 400))
        (leased,) = await driver.queue.lease("q", 1, 0.3, 0)
    async with opened(path) as driver:
        assert await driver.queue.dead_letters("q") == ("morgue", 5, 0)
        assert data_of(await driver.queue.take("q", 1, 0)) == [b"ready"]
        await driver.queue.extend("q", leased.receipt, 0.2)
        (again,) = await driver.queue.lease("q", 1, 30, 5)
        assert (again.data, again.receive_count) == (b"leased", 2)
        assert data_of(await driver.queue.take("q", 1, 5)) == [b"later"]


async def test_expired_messages_are_not_delivered_and_leave_the_file(path: Path) -> None:
    clock = FakeClock()
    async with opened(path, clock) as driver:
        soon = driver._now_ms() + 10_000
        await put(driver, *(item(b"short", expires=soon) for _ in range(5)), item(b"long"))
        await clock.wait(11)
        assert data_of(await driver.queue.take("q", 3, 0)) == [b"long"]
        await put(driver, item(b"short", expires=soon + 5_000), queue="idle")
        await clock.wait(6)
        async with asyncio.timeout(10):
            while await driver.queue.queues(10):
                await asyncio.sleep(0.05)


async def test_a_damaged_message_is_set_aside_and_holds_nobody_up(path: Path) -> None:
    async with opened(path) as driver:
        await put(driver, item(b"the first message"), item(b"second"))
    path.write_bytes(path.read_bytes().replace(b"the first message", b"thE first message"))
    async with opened(path) as driver:
        assert data_of(await driver.queue.take("q", 2, 0)) == [b"second"]
        assert await driver.queue.peek("q", 2, 0) == []
        report = driver.health()
        assert (report.status, report.details["damaged_reads"]) == (Health.DEGRADED, "1")
        assert report.details["last_damage"] == "message 1 of queue 'q' is damaged, and was set aside"


async def test_messages_do_not_move_to_another_proxy(driver: SqliteDriver) -> None:
    await put(driver, item(b"1"))
    refused = await failure(driver.outgoing())
    assert (refused.reason, "queues" in refused.message) == ("MESSAGES_DO_NOT_MOVE", True)
    await driver.queue.take("q", 1, 0)
    await (await driver.outgoing()).end()
