"""What the queues of memstore keep, and when they let go of it."""

from __future__ import annotations

import asyncio

import pytest

from prism_proxy._native.memstore.store import MemStore, MessageBytes
from prism_proxy.backends.memstore.queues import MemstoreQueues
from prism_proxy.errors import invalid
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import Outcome, QueueItem, Settlement

START = 1_800_000_000_000


class Clock:
    now_ms = START

    def __call__(self) -> int:
        return self.now_ms


def queues_of(clock: Clock) -> tuple[MemstoreQueues, MessageBytes]:
    memory = MessageBytes(MemStore(2**20), 2**20, 0)
    return MemstoreQueues(memory, clock, lambda error: invalid("", str(error))), memory


def item(name: str, expires_ms: int = 0) -> QueueItem:
    return QueueItem(StoredMessage(name, b"x", {}, START, expires_ms=expires_ms))


@pytest.mark.parametrize(
    "settlement", [None, Settlement(Outcome.RETRY), Settlement(Outcome.RETRY, delay_s=90.0)],
    ids=["its lease is over", "at once", "later"])
async def test_a_message_that_expired_while_it_was_leased_goes_when_it_is_given_back(
    settlement: Settlement | None,
) -> None:
    clock = Clock()
    queues, memory = queues_of(clock)
    await queues.enqueue("jobs", [item("one", START + 10_000)])
    [leased] = await queues.lease("jobs", 1, 60.0, 0.0)
    clock.now_ms = START + 20_000
    queues._ring(clock.now_ms)
    assert memory.held > 0, "its consumer may go on"
    if settlement is not None:
        assert await queues.settle("jobs", [leased.receipt], settlement) == [None]
    else:
        clock.now_ms = START + 70_000
    assert queues._ring(clock.now_ms) == 0
    assert (memory.held, queues.native_store.queues) == (0, {})
    queues.close()


async def test_a_queue_that_native_code_emptied_is_forgotten() -> None:
    queues, _ = queues_of(Clock())
    for n in range(200):
        await queues.enqueue(f"jobs-{n}", [item("one")])
        queue = queues.native_store.queues[f"jobs-{n}"]
        for entry in list(queue.entries.values()):
            queue.forget(entry)
    queues.keep_up()
    assert queues.native_store.queues == {}
    queues.close()


async def test_one_who_was_woken_for_nothing_still_hears_of_what_comes() -> None:
    queues, _ = queues_of(Clock())
    waiting = asyncio.ensure_future(queues.take("jobs", 1, 5.0))
    await asyncio.sleep(0)
    await queues.enqueue("jobs", [item("lost")])
    [lost] = await queues.take("jobs", 1, 0.0)  # before the woken one has its turn
    await asyncio.sleep(0)
    await queues.enqueue("jobs", [item("found")])
    [found] = await asyncio.wait_for(waiting, 2.0)
    assert (lost.message_id, found.message_id) == ("lost", "found")
    queues.close()
