"""Queues in memory: `models.queue.contract`, all of it. What they hold ends with the process.

    enqueue -> scheduled -> ready -> leased -> gone
                              ^        |  \\
                              +--------+   dead letter queue
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from prism_proxy._native.memstore.store import MessageBytes, StoreFull
from prism_proxy._native.queue.entries import Entry
from prism_proxy._native.queue.local import QueueTable
from prism_proxy.backends.memstore.alarm import Alarm
from prism_proxy.backends.memstore.memory import MESSAGE_BYTES, size_of
from prism_proxy.backends.memstore.queue_entries import Queue, moved, seen
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import (
    DEAD_LETTER_SUFFIX,
    ERROR_HEADER,
    RETRIES_HEADER,
    SOURCE_HEADER,
    Carrier,
    DeliveryClass,
    Guarantee,
    Traits,
)
from prism_proxy.models.messaging_errors import receipt_expired
from prism_proxy.models.queue.contract import (
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

TRAITS = Traits(Carrier.PARTS, DeliveryClass(
    Guarantee.AT_LEAST_ONCE, "everything", "everything", notes=("Messages are in the memory of this process.",)))
_DEAD_LETTER_HEADERS = frozenset({SOURCE_HEADER, ERROR_HEADER, RETRIES_HEADER})
EXPIRED = "the visibility timeout ended"
PURGED_AT_ONCE = 1000  # before others get a turn


class MemstoreQueues:
    """Implements `models.queue.contract.QueueDriver`. `refused` makes the caller's error of a full store."""

    traits = TRAITS

    def __init__(
        self, memory: MessageBytes, now_ms: Callable[[], int], refused: Callable[[Exception], PrismError]
    ) -> None:
        self._memory = memory
        self._now_ms = now_ms
        self._refused = refused
        self._settings = QueueSettings()
        self._alarm = Alarm(self._ring, now_ms)
        self.native_store = QueueTable(memory, MESSAGE_BYTES, self._queue, self._alarm.at)
        self._queues: dict[str, Queue] = self.native_store.queues

    def configure(self, settings: QueueSettings) -> None:
        self._settings = settings

    def close(self) -> None:
        self._alarm.stop()
        for queue in self._queues.values():
            queue.wake_all()
        self._memory.give(sum(queue.clear() for queue in self._queues.values()))
        self._queues.clear()

    def keep_up(self) -> None:
        """The alarm sees to what is due; here go deduplication ids that are too old, and queues that native code
        emptied."""
        now = self._now_ms()
        for queue in list(self._queues.values()):
            if queue.remembered:
                queue.remembered.first("", now)
            self._discard_if_idle(queue)

    def _queue(self, name: str) -> Queue:
        found = self._queues.get(name)
        if found is None:
            found = self._queues[name] = Queue(name)
        return found

    # --- queue_basic --------------------------------------------------------------------------------------------------

    async def enqueue(self, queue: str, items: Sequence[QueueItem]) -> list[str | PrismError]:
        target, now = self._queue(queue), self._now_ms()
        results = [self._enqueue(target, item, now) for item in items]
        target.wake()
        return results

    def _enqueue(self, queue: Queue, item: QueueItem, now: int) -> str | PrismError:
        message = item.message
        identity = message.deduplication_id
        if identity:
            first = queue.remembered.first(identity, now)
            if first is not None:
                return str(first)
        size = size_of(message)
        try:
            self._memory.take(size)
        except StoreFull as error:
            return self._refused(error)
        if identity:
            queue.remembered.remember(identity, message.message_id, now)
        entry = Entry(message, item.priority, now, size)
        self._alarm.at(queue.add(entry, item.deliver_at_ms if item.deliver_at_ms > now else 0))
        return message.message_id

    async def take(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        def once(found: Queue, now: int) -> list[QueuedMessage]:
            taken = found.pop(count, now, self._memory)
            for entry in taken:
                self._memory.give(found.forget(entry))
            return [seen(entry, entry.receives + 1) for entry in taken]

        return await self._waiting(queue, wait_s, once)

    async def peek(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        return await self._waiting(queue, wait_s, lambda found, now: [
            seen(entry, entry.receives) for entry in found.ready(now, count)])

    async def counts(self, queue: str) -> Counts:
        found = self._queues.get(queue)
        return Counts(0, 0, 0, 0) if found is None else found.counts(self._now_ms())

    async def purge(self, queue: str) -> int:
        found, removed = self._queues.get(queue), 0
        for entry in [*found.entries.values()] if found is not None else ():
            size = found.forget(entry) if found is not None else 0
            self._memory.give(size)
            removed += bool(size)
            if removed % PURGED_AT_ONCE == 0:
                await asyncio.sleep(0)
        if found is not None:
            self._discard_if_idle(found)
        return removed

    async def queues(self, limit: int) -> Sequence[str]:
        return [name for name, queue in self._queues.items() if queue.entries][:limit]

    async def _waiting(
        self, name: str, wait_s: float, once: Callable[[Queue, int], list[QueuedMessage]]
    ) -> list[QueuedMessage]:
        """What `once` finds, or what it finds when something comes within `wait_s`. It awaits nothing after that, so
        that a cancelled call has taken nothing."""
        loop = asyncio.get_running_loop()
        queue, ends = self._queue(name), loop.time() + wait_s
        while True:
            found = once(queue, self._now_ms())
            left = ends - loop.time()
            if found or left <= 0:
                if queue.ready_count:
                    queue.wake()
                self._discard_if_idle(queue)
                return found
            await queue.wait(left)

    def _discard_if_idle(self, queue: Queue) -> None:
        if queue.idle and self._queues.get(queue.name) is queue:
            del self._queues[queue.name]

    # --- queue_visibility ---------------------------------------------------------------------------------------------

    async def lease(self, queue: str, count: int, visibility_s: float, wait_s: float) -> list[QueuedMessage]:
        def once(found: Queue, now: int) -> list[QueuedMessage]:
            due = now + int(visibility_s * 1000)
            taken = found.pop(count, now, self._memory)
            for entry in taken:
                found.lease(entry, due)
            if taken:
                self._alarm.at(due)
            return [seen(entry, entry.receives, entry.receipt) for entry in taken]

        return await self._waiting(queue, wait_s, once)

    async def extend(self, queue: str, receipt: str, seconds: float) -> None:
        found, now = self._queue(queue), self._now_ms()
        self._end_leases(found, now)
        if not found.extend(receipt, now + int(seconds * 1000)):
            raise receipt_expired()
        self._alarm.at(found.next_due())

    async def settle(
        self, queue: str, receipts: Sequence[str], settlement: Settlement
    ) -> list[PrismError | None]:
        found, now = self._queue(queue), self._now_ms()
        self._end_leases(found, now)
        results: list[PrismError | None] = []
        for receipt in receipts:
            entry = found.release(receipt)
            results.append(receipt_expired() if entry is None else None)
            if entry is not None:
                self._settle(found, entry, settlement, now)
        found.wake()
        return results

    def _settle(self, queue: Queue, entry: Entry, settlement: Settlement, now: int) -> None:
        if settlement.outcome is Outcome.DONE:
            self._memory.give(queue.forget(entry))
            return
        dead = self._dead_letters(queue)
        if settlement.outcome is Outcome.RETRY and not 0 < dead.max_receives <= entry.receives:
            entry.reason = settlement.reason or entry.reason
            due = now + int(settlement.delay_s * 1000)
            self._alarm.at(queue.put_back(entry, due if due > now else 0))
        elif not dead.max_receives:
            self._memory.give(queue.forget(entry))
        else:
            self._bury(queue, entry, settlement.reason or entry.reason or "it failed")

    def _end_leases(self, queue: Queue, now: int) -> None:
        """Leases whose time is over: ready again, or dead."""
        for entry in queue.overdue(now):
            dead = self._dead_letters(queue)
            if 0 < dead.max_receives <= entry.receives:
                self._bury(queue, entry, entry.reason or EXPIRED)
            else:
                self._alarm.at(queue.put_back(entry, 0))

    def _ring(self, now: int) -> int:
        """Every time that is due is looked at; returns the next one."""
        for queue in list(self._queues.values()):
            if 0 < queue.next_due() <= now:
                self._end_leases(queue, now)
                queue.make_ready(now)
                self._memory.give(queue.drop_expired(now))
                queue.wake()
                self._discard_if_idle(queue)
        return min((due for queue in self._queues.values() if (due := queue.next_due())), default=0)

    # --- queue_dead_letter --------------------------------------------------------------------------------------------

    async def configure_dead_letter(self, queue: str, dead_letter_queue: str, max_receives: int) -> None:
        self._queue(queue).dead_letters = (dead_letter_queue, max_receives)

    async def dead_letters(self, queue: str) -> DeadLetters:
        return self._dead_letters(self._queue(queue))

    def _dead_letters(self, queue: Queue) -> DeadLetters:
        name, receives = queue.dead_letters or (queue.name + DEAD_LETTER_SUFFIX, self._settings.max_receives)
        target = self._queues.get(name)
        return DeadLetters(name, receives, len(target.entries) if target is not None else 0)

    def _bury(self, queue: Queue, entry: Entry, reason: str) -> None:
        """Move to the dead letters, whatever the bound: the message is in memory already."""
        size = queue.forget(entry)
        target = self._queue(self._dead_letters(queue).queue)
        made = moved(entry, {
            **entry.message.headers, SOURCE_HEADER: queue.name, ERROR_HEADER: reason,
            RETRIES_HEADER: str(entry.receives)})
        self._memory.give(size - made.size)
        self._alarm.at(target.add(made, 0))
        target.wake()

    async def redrive(
        self, queue: str, matching: Mapping[str, str], limit: int, cursor: bytes | None, *, dry_run: bool
    ) -> Redriven:
        source, now = self._queue(queue), self._now_ms()
        dead = self._queue(self._dead_letters(source).queue)
        after = int(cursor) if cursor else 0
        looked = [entry for entry in dead.ready(now) if entry.sequence > after
                  and entry.message.headers.get(SOURCE_HEADER) == queue][:limit]
        moving = [entry for entry in looked if matching.items() <= entry.message.headers.items()]
        if not dry_run:
            for entry in moving:
                size = dead.forget(entry)
                made = moved(entry, {key: value for key, value in entry.message.headers.items()
                                          if key not in _DEAD_LETTER_HEADERS})
                self._memory.give(size - made.size)
                self._alarm.at(source.add(made, 0))
            source.wake()
        more = len(looked) == limit
        return Redriven(len(moving), len(looked) - len(moving), b"%d" % looked[-1].sequence if more else None)

    # --- queue_delayed ------------------------------------------------------------------------------------------------

    async def scheduled(self, queue: str) -> Scheduled:
        found = self._queues.get(queue)
        return Scheduled(0, 0) if found is None else Scheduled(*found.scheduled(self._now_ms()))
