"""The queue interfaces over the wire: QUB QUV QUD QUP QUL of the specification, and batches.

A backend may need several calls to hand out what is there: `until` and `all_of` look again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from prism_proxy.errors import StatusCode
from prism_proxy.testing.contracts.messaging_wire import Messaging, fails

BASIC, VISIBILITY, DEAD_LETTER = "queue_basic", "queue_visibility", "queue_dead_letter"
PRIORITY, DELAYED, BATCH = "queue_priority", "queue_delayed", "queue_batch"
NO_NAMES = ("", "$q", "_INBOX.q", "__q", "a b", "a.*", "a\nb", "q" * 2000)


async def until(found: Callable[[], Awaitable[Any]], seconds: float = 5.0) -> Any:
    """The first result that is not empty."""
    async with asyncio.timeout(seconds):
        while not (result := await found()):  # noqa: ASYNC110 - no backend tells
            await asyncio.sleep(0.02)
        return result


async def all_of(messaging: Messaging, queue: str, count: int) -> list[Any]:
    """So many messages, leased by as many calls as it takes."""
    found: list[Any] = []
    while len(found) < count:
        found += await until(partial(messaging.lease, queue, count - len(found), wait_ms=500))
    return found


class QueueBasicSuite:
    async def test_QUB_messages_come_in_order_with_their_metadata(self, messaging: Messaging) -> None:
        metadata = {"key": "välue", "prism-content-type": "text/plain"}
        ids = [await messaging.enqueue("q", b"%d" % number, metadata) for number in range(5)]
        assert ids == sorted(ids)
        found: list[Any] = []
        while len(found) < 5:
            found += await until(lambda: messaging.take("q", 10, wait_ms=500))
        assert [message.payload for message in found] == [b"%d" % number for number in range(5)]
        assert [message.message_id for message in found] == ids
        assert {key: found[0].metadata[key] for key in metadata} == metadata
        assert (found[0].receipt, found[0].priority, found[0].receive_count) == ("", 5, 1)
        assert await messaging.take("q") == []

    async def test_QUB_an_unknown_queue_is_empty_and_peek_changes_nothing(self, messaging: Messaging) -> None:
        assert await messaging.take("nowhere") == []
        await messaging.enqueue("q", b"1")
        for _ in range(2):
            [seen] = (await messaging[BASIC].Peek(queue="q")).messages
            assert (seen.payload, seen.receipt) == (b"1", "")
        assert len(await until(lambda: messaging.take("q", wait_ms=500))) == 1

    async def test_QUB_a_waiting_call_gets_the_first_message(self, messaging: Messaging) -> None:
        waiting = asyncio.ensure_future(messaging.take("q", 5, wait_ms=5000))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await messaging.enqueue("q", b"1")
        assert [message.payload for message in await waiting] == [b"1"]
        began = time.monotonic()
        assert await messaging.take("q", wait_ms=200) == []
        assert time.monotonic() - began > 0.15

    async def test_QUB_a_cancelled_wait_loses_nothing(self, messaging: Messaging) -> None:
        calls = [asyncio.ensure_future(messaging.take("q", wait_ms=5000)) for _ in range(5)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await messaging.enqueue("q", b"1")
        assert len(await until(lambda: messaging.take("q", wait_ms=100))) == 1

    async def test_QUB_a_duplicate_is_answered_with_the_first_id(self, messaging: Messaging) -> None:
        once = {"prism-deduplication-id": "a"}
        first = await messaging.enqueue("q", b"1", once)
        assert await messaging.enqueue("q", b"1", once) == first
        assert len(await until(lambda: messaging.take("q", 10, wait_ms=500))) == 1
        assert await messaging.take("q", 10) == []

    async def test_QUB_expired_messages_are_not_delivered(self, messaging: Messaging) -> None:
        await messaging.enqueue("q", b"dies", {"prism-ttl-seconds": "1"})
        await messaging.enqueue("q", b"lives")
        await asyncio.sleep(1.1)
        assert [message.payload for message in await until(lambda: messaging.take("q", 10, wait_ms=500))] == [b"lives"]

    async def test_QUB_what_is_refused(self, messaging: Messaging) -> None:
        for queue in NO_NAMES:
            with fails(StatusCode.INVALID_ARGUMENT):
                await messaging[BASIC].Enqueue(queue=queue)
        for bounds in ({"max_messages": 10_001}, {"max_messages": -1}, {"wait_ms": 10_000_000}):
            for method in (messaging[BASIC].Dequeue, messaging[BASIC].Peek):
                with fails(StatusCode.INVALID_ARGUMENT):
                    await method(queue="q", **bounds)


class QueueVisibilitySuite:
    async def test_QUV_a_lease_hides_a_message_until_it_is_over(self, messaging: Messaging) -> None:
        await messaging.enqueue("q", b"1")
        [first] = await until(lambda: messaging.lease("q", seconds=1, wait_ms=500))
        assert first.receipt
        assert await messaging.lease("q") == []
        [again] = await until(lambda: messaging.lease("q", wait_ms=500))
        assert (again.payload, again.receive_count) == (b"1", 2)
        with fails(StatusCode.FAILED_PRECONDITION, "RECEIPT_EXPIRED"):
            await messaging.release("q", first, delete=True)
        await messaging.release("q", again, delete=True)
        assert await messaging.lease("q") == []

    async def test_QUV_release_gives_back_or_settles(self, messaging: Messaging) -> None:
        await messaging.enqueue("q", b"1")
        [message] = await until(lambda: messaging.lease("q", wait_ms=500))
        await messaging.release("q", message, delete=False)
        [message] = await until(lambda: messaging.lease("q"))
        assert message.receive_count == 2
        await messaging.release("q", message, delete=False, delay_ms=300)
        assert await messaging.lease("q") == []
        [message] = await until(lambda: messaging.lease("q", wait_ms=500))
        await messaging.release("q", message, delete=True)
        assert await messaging.lease("q") == []

    async def test_QUV_a_long_job_extends_its_lease_and_runs_once(self, messaging: Messaging) -> None:
        await messaging.enqueue("q", b"1")
        [message] = await until(lambda: messaging.lease("q", seconds=1, wait_ms=500))
        for _ in range(3):
            await asyncio.sleep(0.5)
            await messaging[VISIBILITY].ExtendVisibility(queue="q", receipt=message.receipt, seconds=1)
            assert await messaging.lease("q") == []
        await messaging.release("q", message, delete=True)

    async def test_QUV_what_is_refused(self, messaging: Messaging) -> None:
        for call in (
            messaging[VISIBILITY].DequeueWithTimeout(queue="q", visibility_seconds=-1),
            messaging[VISIBILITY].DequeueWithTimeout(queue="q", max_messages=10_001),
            messaging[VISIBILITY].Release(queue="q", receipt=""),
            messaging[VISIBILITY].ExtendVisibility(queue="q", receipt="x"),
        ):
            with fails(StatusCode.INVALID_ARGUMENT):
                await call


class QueueDeadLetterSuite:
    async def test_QUD_dead_letters_and_redrive(self, messaging: Messaging) -> None:
        dead = messaging[DEAD_LETTER]
        assert (await dead.ConfigureDeadLetter(queue="q", max_receives=2)).success
        await messaging.enqueue("q", b"poison", {"kind": "bad"})
        await messaging.enqueue("q", b"other", {"kind": "good"})
        for _ in range(2):
            for message in await all_of(messaging, "q", 2):
                await messaging.release("q", message, delete=False, reason="it fails")

        async def both_there() -> bool:
            found = await dead.GetDeadLetterQueue(queue="q")
            assert (found.dead_letter_queue, found.max_receives) == ("q.dlq", 2)
            return bool(found.depth == 2)

        await until(both_there)
        [seen] = (await messaging[BASIC].Peek(queue="q.dlq")).messages
        assert (seen.metadata["x-dlq-source"], seen.metadata["x-error"]) == ("q", "it fails")
        assert (await dead.Redrive(queue="q", metadata={"kind": "good"}, dry_run=True)).moved == 1
        done = await dead.Redrive(queue="q", metadata={"kind": "good"})
        assert (done.moved, done.skipped) == (1, 1)
        [back] = await until(lambda: messaging.lease("q", wait_ms=500))
        assert (back.payload, back.receive_count) == (b"other", 1)
        assert "x-dlq-source" not in back.metadata

    async def test_QUD_what_is_refused(self, messaging: Messaging) -> None:
        for given in ({}, {"dead_letter_queue": "q", "max_receives": 1}, {"max_receives": -1}):
            with fails(StatusCode.INVALID_ARGUMENT):
                await messaging[DEAD_LETTER].ConfigureDeadLetter(queue="q", **given)


class QueuePrioritySuite:
    async def test_QUP_higher_priorities_come_first(self, messaging: Messaging) -> None:
        with fails(StatusCode.INVALID_ARGUMENT):
            await messaging[PRIORITY].EnqueueWithPriority(queue="q", priority=11)
        for level in (1, 10, 5, 0):
            await messaging[PRIORITY].EnqueueWithPriority(queue="q", payload=b"%d" % level, priority=level)
        assert [message.payload for message in await messaging.take("q", 4)] == [b"10", b"5", b"0", b"1"]


class QueueDelayedSuite:
    async def test_QUL_delayed_messages_come_in_time(self, messaging: Messaging) -> None:
        """Late by up to a second where the broker counts in seconds."""
        at = time.time_ns() // 1_000_000 + 600
        await messaging[DELAYED].EnqueueDelayed(queue="q", payload=b"1", deliver_at=at)
        found = await messaging[DELAYED].GetScheduledCount(queue="q")
        assert (found.count, found.next_at) == (1, at)
        assert await messaging.take("q") == []
        [message] = await messaging.take("q", wait_ms=5000)
        assert message.payload == b"1"
        assert -100 <= time.time_ns() // 1_000_000 - at < 1500

    async def test_QUL_what_is_refused(self, messaging: Messaging) -> None:
        for given in ({"delay_seconds": -1}, {"deliver_at": -1}):
            with fails(StatusCode.INVALID_ARGUMENT):
                await messaging[DELAYED].EnqueueDelayed(queue="q", **given)


class QueueBatchSuite:
    async def test_QUQ_an_item_fails_alone(self, messaging: Messaging) -> None:
        items = [{"payload": b"%d" % number} for number in range(3)] + [{"payload": b"x", "priority": 11}]
        reply = await messaging[BATCH].EnqueueBatch(queue="q", messages=items)
        assert [bool(result.error) for result in reply.results] == [False, False, False, True]
        assert not reply.all_success
        receipts = [message.receipt for message in await all_of(messaging, "q", 3)]
        done = await messaging[BATCH].ReleaseBatch(queue="q", receipts=receipts, delete=True)
        assert (done.all_success, len(done.results)) == (True, 3)
        again = await messaging[BATCH].ReleaseBatch(queue="q", receipts=receipts, delete=True)
        assert ["RECEIPT_EXPIRED" in result.error for result in again.results] == [True] * 3

    async def test_QUQ_what_is_refused(self, messaging: Messaging) -> None:
        for call in (messaging[BATCH].EnqueueBatch(queue="q"), messaging[BATCH].ReleaseBatch(queue="q"),
                     messaging[BATCH].EnqueueBatch(queue="$q", messages=[{"payload": b"1"}])):
            with fails(StatusCode.INVALID_ARGUMENT):
                await call
