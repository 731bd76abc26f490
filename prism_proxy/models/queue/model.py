"""The meaning of the Queue methods, over a slot filled by any driver.

A message that expired is settled and never handed out. Waiting for a message holds no place at the backend that other
calls need (`Slot.blocking`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from prism_proxy._native.envelope.codec import now_ms
from prism_proxy.contracts.driver import Health, HealthReport
from prism_proxy.contracts.steps import StepFailure
from prism_proxy.errors import PrismError, invalid
from prism_proxy.models import assertion, names
from prism_proxy.models.assertion import MISMATCH, SchemaAssertion
from prism_proxy.models.depths import MAX_NAMES, Depths
from prism_proxy.models.framing import NOBODY, Framing, Opened, Origin, Rejected
from prism_proxy.models.messages import DEAD_LETTER_SUFFIX, MAX_BATCH, described
from prism_proxy.models.messaging_errors import receipt_expired
from prism_proxy.models.passing import Receipts
from prism_proxy.models.publishing import Publishing, merged
from prism_proxy.models.queue import operations
from prism_proxy.models.queue.contract import (
    DEAD_LETTER,
    DEFAULT_PRIORITY,
    MAX_PRIORITY,
    Counts,
    DeadLetters,
    Outcome,
    QueuedMessage,
    QueueItem,
    QueueSettings,
    Redriven,
    Scheduled,
    Settlement,
)
from prism_proxy.models.queue.followed import LastReceive, join, split
from prism_proxy.models.queue.options import MAX_VISIBILITY, QueueOptions
from prism_proxy.slots.composition import Part, Surroundings
from prism_proxy.slots.operation import Caller
from prism_proxy.slots.slot import Slot
from prism_proxy.telemetry.metrics import Metric, Sample

if TYPE_CHECKING:
    from prism_proxy._native.queue.local import LocalQueues

MAX_DELAY_S = 365 * 86_400
MAX_RECEIPT = 512
REDRIVE_PAGE = 1000
EXPIRED = "expired"
STEP_RETRY_S = 1.0  # before a message whose step had not what it needs is delivered again


class Item(NamedTuple):
    """A message to enqueue. `priority` 0 reads as the default; `deliver_at_ms` wins over `delay_s`."""

    payload: bytes
    metadata: Mapping[str, str]
    priority: int = 0
    delay_s: int = 0
    deliver_at_ms: int | None = None


class Dequeued(NamedTuple):
    """A message as a consumer sees it."""

    message: QueuedMessage
    opened: Opened


class _Unserved(NamedTuple):
    """What becomes of a message that its consumer does not get, and what the consumer hears if it gets no other."""

    settlement: Settlement
    error: PrismError | None = None


class _Counts:
    """What outlives a configuration change."""

    enqueued = delivered = redelivered = settled = expired = 0


class QueueModel(Part):
    """One per namespace and configuration."""

    def __init__(self, slot: Slot[Any], options: QueueOptions, surroundings: Surroundings = Surroundings(),
                 previous: QueueModel | None = None) -> None:
        self._slot = slot
        self._driver = slot.driver.queue
        self._driver.configure(QueueSettings(options.visibility, options.max_receives))
        self._options = options
        self._namespace = surroundings.namespace
        self._counts: _Counts = previous._counts if previous is not None else _Counts()
        self._framing = Framing(surroundings, self._driver.traits)
        self._receipts: Receipts = Receipts(self._framing, surroundings.namespace, "queue",
                                  previous._receipts if previous is not None else None)
        self._depths: Depths[str, Counts] = Depths(
            lambda queue: slot.call(operations.PEEK, None, self._driver.counts, queue))
        declared = slot.driver.declaration.interfaces
        self.native_store = self._local()
        follows = DEAD_LETTER in declared and self._framing.followed
        self._dead_letters = LastReceive(self.dead_letters) if follows else None

    @property
    def native(self) -> bool:
        """Whether native handlers may serve in its place."""
        return self._framing.plain

    def _local(self) -> LocalQueues | None:
        """What native handlers work on, where the backend keeps its messages in this process."""
        table = getattr(self._driver, "native_store", None)
        if table is None or not self._framing.plain or self._framing.signs:
            return None
        from prism_proxy._native.queue.local import LocalQueues

        return LocalQueues(
            table, lambda queue: [names.topic(queue, "queue")], self._depths.use, self._counts, self._framing.max_bytes,
            self._options.visibility, self._options.max_wait, str(receipt_expired()))

    # --- producers --------------------------------------------------------------------------------------------------

    async def enqueue(self, queue: str, item: Item, caller: Caller | None = None, origin: Origin = NOBODY) -> str:
        """The message id; that of the first message for a duplicate."""
        [result] = await self._enqueue(operations.ENQUEUE, queue, [item], caller, origin)
        if isinstance(result, PrismError):
            raise result
        return result

    async def enqueue_batch(
        self, queue: str, items: Sequence[Item], caller: Caller | None = None, origin: Origin = NOBODY
    ) -> list[str | PrismError]:
        """One message id or error an item, in order."""
        _bounded(len(items), "messages")
        return await self._enqueue(operations.ENQUEUE_BATCH, queue, items, caller, origin)

    async def _enqueue(
        self, operation: Any, queue: str, items: Sequence[Item], caller: Caller | None, origin: Origin
    ) -> list[str | PrismError]:
        self._depths.use(names.topic(queue, "queue"))
        results: list[str | PrismError] = []
        valid = []
        async with Publishing(self._framing) as publishing:
            for item in items:
                try:
                    valid.append(await self._framed(publishing, queue, item, origin))
                    results.append("")
                except PrismError as error:
                    results.append(error)
            done = await self._stored(operation, queue, valid, caller) if valid else []
            heard = await publishing.stored(done)
        self._counts.enqueued += sum(not isinstance(each, PrismError) for each in done)
        return merged(results, done, heard)

    async def _stored(
        self, operation: Any, queue: str, items: Sequence[QueueItem], caller: Caller | None
    ) -> list[str | PrismError]:
        """One result an item, in order. Those that a check moves to the dead letters go there."""
        moved = [item.message.moved_to for item in items]
        results: list[str | PrismError] = [""] * len(items)
        for name in dict.fromkeys(moved):
            places = [at for at, other in enumerate(moved) if other == name]
            found = await self._slot.call(operation, caller, self._driver.enqueue, name or queue,
                                          [items[at] for at in places])
            for at, result in zip(places, found, strict=True):
                results[at] = result
        return results

    async def _framed(self, publishing: Publishing, queue: str, item: Item, origin: Origin) -> QueueItem:
        if not 0 <= item.priority <= MAX_PRIORITY:
            raise invalid("priority", f"priority is from 0 to {MAX_PRIORITY}", value=str(item.priority))
        if not 0 <= item.delay_s <= MAX_DELAY_S:
            raise invalid("delay_seconds", f"delay_seconds is from 0 to {MAX_DELAY_S}", value=str(item.delay_s))
        now = now_ms()
        deliver_at = item.deliver_at_ms if item.deliver_at_ms is not None else (
            now + item.delay_s * 1000 if item.delay_s else 0)
        if not 0 <= deliver_at <= now + MAX_DELAY_S * 1000:
            raise invalid("deliver_at", f"deliver_at is a time in epoch milliseconds, at most {MAX_DELAY_S} s from now",
                          value=str(deliver_at))
        waits_s = max(0, deliver_at - now) / 1000
        return QueueItem(
            await publishing.frame(queue, item.payload, item.metadata, origin, waits_s=waits_s),
            item.priority or DEFAULT_PRIORITY, deliver_at)

    # --- consumers --------------------------------------------------------------------------------------------------

    async def dequeue(self, queue: str, count: int, wait_ms: int, caller: Caller | None = None) -> list[Dequeued]:
        """Remove messages and return them: at most once."""
        expected = self._expected(caller)
        if not self._framing.steps and expected is None:
            return await self._deliver(queue, count, wait_ms, None, lambda most, wait: self._slot.blocking(
                operations.DEQUEUE, caller, self._driver.take, queue, most, wait))
        found = await self._deliver(queue, count, wait_ms, expected, lambda most, wait: self._slot.blocking(
            operations.DEQUEUE, caller, self._driver.lease, queue, most, self._options.visibility, wait))
        done = Settlement(Outcome.DONE)  # only now: what could not pass the steps is still there
        receipts = [split(each.message.receipt) for each in found] if self._framing.followed else [
            (each.message.receipt, "") for each in found]
        results = await self._driver.settle(queue, [receipt for receipt, _ in receipts], done)
        await self._settled(queue, receipts, results)
        return [each._replace(message=replace(each.message, receipt="")) for each in found]

    async def _settled(
        self, queue: str, receipts: Sequence[tuple[str, str]], results: Sequence[PrismError | None]
    ) -> None:
        """These messages are done, unless a result says otherwise."""
        for (_, token), result in zip(receipts, results, strict=True):
            if result is None:
                await self._framing.settled(queue, token)

    async def peek(self, queue: str, count: int, wait_ms: int, caller: Caller | None = None) -> list[Dequeued]:
        names.topic(queue, "queue")
        found = await self._slot.blocking(operations.PEEK, caller, self._driver.peek, queue, _count(count),
                                          self._wait(wait_ms))
        return [Dequeued(message, seen) for message in found
                if isinstance(seen := await self._received(queue, message), Opened)]

    async def lease(
        self, queue: str, count: int, visibility_s: int, wait_ms: int, caller: Caller | None = None
    ) -> list[Dequeued]:
        """Messages that nobody else sees until their receipts are settled, or the time is over."""
        seconds = float(visibility_s) if visibility_s else self._options.visibility
        if not 0 < seconds <= MAX_VISIBILITY:
            raise invalid("visibility_seconds", f"visibility_seconds is from 1 to {MAX_VISIBILITY:g}, 0 for the "
                          "namespace's own", value=str(visibility_s))
        expected = self._expected(caller)
        return await self._deliver(queue, count, wait_ms, expected, lambda most, wait: self._slot.blocking(
            operations.LEASE, caller, self._driver.lease, queue, most, seconds, wait))

    async def _deliver(
        self, queue: str, count: int, wait_ms: int, expected: SchemaAssertion | None, take: Any
    ) -> list[Dequeued]:
        """What `take` brings, without what has expired: that is settled, and the call looks again. A leased message of
        another schema than is expected comes again, until it is a dead letter."""
        self._depths.use(names.topic(queue, "queue"))
        most, wait = _count(count), self._wait(wait_ms)
        ends = time.monotonic() + wait
        while True:
            taken = await take(most, wait)
            found, failed, room = [], None, self._framing.chain.inline_bytes
            for message in taken:
                seen = await self._received(queue, message, room)
                if isinstance(seen, Opened) and not self._accepted(expected, seen):
                    await self._followed(queue, message, seen)
                    seen = _Unserved(Settlement(Outcome.RETRY, MISMATCH, STEP_RETRY_S))
                if isinstance(seen, Opened):
                    room = max(0, room - len(seen.payload))
                    found.append(Dequeued(await self._followed(queue, message, seen), seen))
                    continue
                failed = seen.error or failed
                if message.receipt:
                    await self._driver.settle(queue, [message.receipt], seen.settlement)
            self._counts.delivered += len(found)
            self._counts.redelivered += sum(each.message.receive_count > 1 for each in found)
            if failed is not None and not found:
                raise failed
            if found or not taken:
                return found
            wait = max(0.0, ends - time.monotonic())

    def _expected(self, caller: Caller | None) -> SchemaAssertion | None:
        """What the call expects of the schema. PrismError when the namespace has another version."""
        expected = assertion.of_call(caller) if self._framing.chain.declaring is not None else None
        if expected is not None:
            expected.check_open(self._framing.chain, self._namespace)
        return expected

    def _accepted(self, expected: SchemaAssertion | None, seen: Opened) -> bool:
        return expected is None or expected.accepts(seen.metadata, self._framing.chain, self._namespace)

    async def _followed(self, queue: str, message: QueuedMessage, seen: Opened) -> QueuedMessage:
        """The message with a receipt that a step recognises. Before the delivery after which it may be a dead letter,
        the steps hear of it."""
        if not self._framing.followed or not message.receipt:
            return message
        token = seen.followed.token if seen.followed is not None else ""
        if token and self._dead_letters is not None and message.receive_count >= await self._dead_letters.most(queue):
            await self._framing.dying(seen)
        return replace(message, receipt=join(message.receipt, token))

    async def _received(self, queue: str, message: QueuedMessage, room: int = -1) -> Opened | _Unserved:
        """The message as its consumer sees it, or what is to become of it instead. Its reply has `room` bytes left."""
        opened = None
        try:
            opened = self._open(queue, message)
            return await self._framing.consume(opened, room) if opened is not None else _Unserved(
                Settlement(Outcome.DONE, EXPIRED))
        except Rejected as rejected:
            self._receipts.reject(queue, rejected.reason)
            return _Unserved(Settlement(Outcome.FAIL, rejected.reason))
        except StepFailure as failure:
            reason = f"{failure.step}: {failure.error.reason}"
            if failure.temporary:
                return _Unserved(Settlement(Outcome.RETRY, reason, STEP_RETRY_S), failure.error)
            self._receipts.reject(queue, reason)
            await self._framing.dying(opened)
            return _Unserved(Settlement(Outcome.FAIL, reason))

    async def extend(self, queue: str, receipt: str, seconds: int, caller: Caller | None = None) -> None:
        names.topic(queue, "queue")
        if not 0 < seconds <= MAX_VISIBILITY:
            raise invalid("seconds", f"seconds is from 1 to {MAX_VISIBILITY:g}", value=str(seconds))
        await self._slot.call(operations.EXTEND, caller, self._driver.extend, queue, self._split(receipt)[0],
                              float(seconds))

    async def release(
        self, queue: str, receipts: Sequence[str], *, delete: bool, reason: str = "", delay_ms: int = 0,
        caller: Caller | None = None,
    ) -> list[PrismError | None]:
        """End leases: done, or back to the queue. One result a receipt."""
        names.topic(queue, "queue")
        _bounded(len(receipts), "receipts")
        if not 0 <= delay_ms <= MAX_DELAY_S * 1000:
            raise invalid("delay_ms", f"delay_ms is from 0 to {MAX_DELAY_S * 1000}", value=str(delay_ms))
        if len(reason) > MAX_RECEIPT:
            raise invalid("reason", f"reason has at most {MAX_RECEIPT} characters")
        settlement = Settlement(Outcome.DONE if delete else Outcome.RETRY, reason, delay_ms / 1000)
        operation = operations.RELEASE if len(receipts) == 1 else operations.RELEASE_BATCH
        parts = [self._split(each) for each in receipts]
        results: list[PrismError | None] = await self._slot.call(
            operation, caller, self._driver.settle, queue, [receipt for receipt, _ in parts], settlement)
        if delete:
            await self._settled(queue, parts, results)
        self._counts.settled += sum(result is None for result in results) if delete else 0
        return results

    def _split(self, receipt: str) -> tuple[str, str]:
        """The driver's receipt, and what a step wants to hear with it."""
        return split(_receipt(receipt)) if self._framing.followed else (_receipt(receipt), "")

    # --- dead letters -----------------------------------------------------------------------------------------------

    async def configure_dead_letter(
        self, queue: str, dead_letter_queue: str, max_receives: int, caller: Caller | None = None
    ) -> None:
        names.topic(queue, "queue")
        target = names.topic(dead_letter_queue or queue + DEAD_LETTER_SUFFIX, "dead_letter_queue")
        receives = max_receives or self._options.max_receives
        if target == queue:
            raise invalid("dead_letter_queue", "a queue cannot be its own dead letter queue", value=target)
        if not 0 < receives <= 1_000_000:
            raise invalid("max_receives", "max_receives is from 1 to 1000000: the namespace has no default",
                          value=str(max_receives))
        self._framing.check_dead_letters(target)
        await self._slot.call(operations.CONFIGURE_DEAD_LETTER, caller, self._driver.configure_dead_letter, queue,
                              target, receives)

    async def dead_letters(self, queue: str, caller: Caller | None = None) -> DeadLetters:
        names.topic(queue, "queue")
        found: DeadLetters = await self._slot.call(
            operations.GET_DEAD_LETTER_QUEUE, caller, self._driver.dead_letters, queue)
        return found

    async def redrive(
        self, queue: str, matching: Mapping[str, str], most: int, rate: int, caller: Caller | None = None, *,
        dry_run: bool,
    ) -> tuple[int, int]:
        """(moved, skipped). `most` 0 = all; `rate` messages a second, 0 = as fast as the backend allows."""
        names.topic(queue, "queue")
        if most < 0 or rate < 0:
            raise invalid("rate" if rate < 0 else "max_messages", "it must not be negative")
        moved = skipped = 0
        cursor: bytes | None = None
        while True:
            page = min(REDRIVE_PAGE, most - moved if most else REDRIVE_PAGE, max(1, rate) if rate else REDRIVE_PAGE)
            found: Redriven = await self._slot.call(
                operations.REDRIVE, caller, self._driver.redrive, queue, dict(matching), page, cursor, dry_run=dry_run)
            moved, skipped, cursor = moved + found.moved, skipped + found.skipped, found.cursor
            if cursor is None or (most and moved >= most):
                return moved, skipped
            if rate and not dry_run:
                await asyncio.sleep(found.moved / rate)

    async def scheduled(self, queue: str, caller: Caller | None = None) -> Scheduled:
        names.topic(queue, "queue")
        found: Scheduled = await self._slot.call(
            operations.GET_SCHEDULED_COUNT, caller, self._driver.scheduled, queue)
        return found

    # --- what operators do and see ----------------------------------------------------------------------------------

    async def queues(self, limit: int, caller: Caller | None = None) -> list[tuple[str, Counts]]:
        """Queues that hold messages, by name, with what they hold."""
        if not 0 <= limit <= MAX_NAMES:
            raise invalid("limit", f"limit is from 0, which reads as {MAX_NAMES}, to {MAX_NAMES}", value=str(limit))
        found = await self._slot.call(operations.LIST_QUEUES, caller, self._driver.queues, limit or MAX_NAMES)
        return [(name, await self.counts(name, caller)) for name in sorted(found)]

    async def counts(self, queue: str, caller: Caller | None = None) -> Counts:
        names.topic(queue, "queue")
        found: Counts = await self._slot.call(operations.DESCRIBE, caller, self._driver.counts, queue)
        return found

    async def purge(self, queue: str, caller: Caller | None = None) -> int:
        """How many messages were removed."""
        names.topic(queue, "queue")
        removed: int = await self._slot.call(operations.PURGE, caller, self._driver.purge, queue)
        return removed

    def health(self) -> HealthReport:
        """What callers may rely on; degraded while a step of the namespace has not what it needs."""
        paused, traits = self._receipts.paused, self._driver.traits
        details = described("queue", traits.delivery)
        return HealthReport(Health.DEGRADED if paused else Health.HEALTHY, paused, details)

    async def close(self) -> None:
        await self._depths.close()

    def metrics(self) -> Iterable[Metric]:
        yield self._receipts.metrics()
        label = (("namespace", self._namespace),)
        yield from self._depth_metrics()
        for name, text, count in (
            ("enqueued", "Messages that the backend stored.", self._counts.enqueued),
            ("delivered", "Messages handed to consumers, each delivery counted.", self._counts.delivered),
            ("redelivered", "Deliveries of a message after the first.", self._counts.redelivered),
            ("settled", "Messages that consumers have done.", self._counts.settled),
            ("expired", "Messages that expired before they were delivered.", self._counts.expired),
        ):
            yield Metric(f"prism_queue_{name}_total", "counter", text, [Sample(label, float(count))])

    def _depth_metrics(self) -> Iterable[Metric]:
        """Workers ask one backend, so what they know is one figure, not a sum."""
        known, now = self._depths.latest(), now_ms()
        yield Metric("prism_queue_depth", "gauge", "Messages in a queue: ready, in_flight or scheduled.", [
            Sample((("namespace", self._namespace), ("queue", queue), ("state", state)), float(count))
            for queue, counts in known.items()
            for state, count in zip(("ready", "in_flight", "scheduled"), counts, strict=False)], "max")
        yield Metric("prism_queue_oldest_age_seconds", "gauge", "Age of the oldest ready message.", [
            Sample((("namespace", self._namespace), ("queue", queue)),
                   max(0.0, (now - counts.oldest_ms) / 1000) if counts.oldest_ms else 0.0)
            for queue, counts in known.items()], "max")

    def _open(self, queue: str, message: QueuedMessage) -> Opened | None:
        opened = self._framing.open(queue, message.data, message.headers, message.message_id, message.enqueued_ms)
        self._counts.expired += opened is None
        return opened

    def _wait(self, wait_ms: int) -> float:
        if not 0 <= wait_ms <= self._options.max_wait * 1000:
            raise invalid("wait_ms", f"wait_ms is from 0 to {self._options.max_wait * 1000:g} (queue.max_wait)",
                          value=str(wait_ms))
        return wait_ms / 1000


def _count(wanted: int) -> int:
    if not 0 <= wanted <= MAX_BATCH:
        raise invalid("max_messages", f"max_messages is from 0, which reads as 1, to {MAX_BATCH}", value=str(wanted))
    return wanted or 1


def _bounded(count: int, field: str) -> None:
    if not 0 < count <= MAX_BATCH:
        raise invalid(field, f"{field} has 1 to {MAX_BATCH} items, this one {count}", constraint=f"1 to {MAX_BATCH}")


def _receipt(text: str) -> str:
    if not 0 < len(text) <= MAX_RECEIPT:
        raise invalid("receipt", f"a receipt has 1 to {MAX_RECEIPT} characters")
    return text
