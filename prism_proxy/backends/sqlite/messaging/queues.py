"""Queues of a SQLite namespace: `models.queue.contract`, all of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from prism_proxy.backends.sqlite.messaging import queue_rows
from prism_proxy.backends.sqlite.messaging.agenda import Agenda
from prism_proxy.backends.sqlite.messaging.arrivals import Arrivals
from prism_proxy.backends.sqlite.readers import Readers
from prism_proxy.backends.sqlite.writer import Writer
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import Traits
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

ITEM_BYTES = 128  # of the writer's queue, for what a message costs beside its data
FoundT = TypeVar("FoundT")
ResultT = TypeVar("ResultT")


class SqliteQueues:
    """Implements `models.queue.contract.QueueDriver`."""

    def __init__(self, writer: Writer, readers: Readers, now_ms: Callable[[], int], traits: Traits) -> None:
        self.traits = traits
        self._writer = writer
        self._readers = readers
        self._now_ms = now_ms
        self._settings = QueueSettings()
        self._arrivals = Arrivals()
        self._undoing: set[asyncio.Future[None]] = set()
        self._agenda = Agenda(self._make_ready, now_ms)

    def configure(self, settings: QueueSettings) -> None:
        self._settings = settings

    async def open(self) -> None:
        """What was leased or scheduled before becomes ready in its time."""
        try:
            self._agenda.at(await self._readers.run(queue_rows.next_due))
        except (PrismError, sqlite3.Error):
            self._agenda.at(self._now_ms())  # when the file can be read

    async def close(self) -> None:
        await self._agenda.close()
        await asyncio.gather(*self._undoing, return_exceptions=True)

    # --- queue_basic --------------------------------------------------------------------------------------------------

    async def enqueue(self, queue: str, items: Sequence[QueueItem]) -> list[str | PrismError]:
        size = sum(len(item.message.data) + ITEM_BYTES for item in items)
        results = await self._writer.submit(partial(queue_rows.enqueue, name=queue, items=items), size)
        now = self._now_ms()
        if any(item.deliver_at_ms <= now for item in items):
            self._arrivals.tell((queue,))
        self._agenda.at(min((item.deliver_at_ms for item in items if item.deliver_at_ms > now), default=0))
        return results

    async def take(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        async def once() -> list[tuple[Any, ...]]:
            asked = _Asked[list[tuple[Any, ...]]](self._undoing)
            return await asked.answer(
                self._writer.submit(partial(queue_rows.take, name=queue, count=count, wanted=asked.wanted), ITEM_BYTES),
                lambda rows: self._put_back(queue, rows))

        rows = await self._waiting(queue, wait_s, once)
        return [queue_rows.as_message(row, row[2] + 1) for row in rows]

    async def peek(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        return await self._waiting(queue, wait_s, lambda: self._readers.run(
            partial(queue_rows.peek, name=queue, count=count, now_ms=self._now_ms())))

    async def counts(self, queue: str) -> Counts:
        return Counts(*await self._readers.run(partial(queue_rows.counts, name=queue, now_ms=self._now_ms())))

    async def purge(self, queue: str) -> int:
        removed = 0
        while found := await self._writer.submit(partial(queue_rows.purge, name=queue), ITEM_BYTES, frees=True):
            removed += found
        return removed

    async def queues(self, limit: int) -> Sequence[str]:
        return await self._readers.run(partial(queue_rows.names, limit=limit))

    # --- queue_visibility ---------------------------------------------------------------------------------------------

    async def lease(self, queue: str, count: int, visibility_s: float, wait_s: float) -> list[QueuedMessage]:
        async def once() -> list[QueuedMessage]:
            asked = _Asked[tuple[list[QueuedMessage], int]](self._undoing)
            found, ends = await asked.answer(
                self._writer.submit(partial(
                    queue_rows.lease, name=queue, count=count, visibility_ms=int(visibility_s * 1000),
                    wanted=asked.wanted), ITEM_BYTES),
                lambda result: self._give_back(queue, [message.receipt for message in result[0]]))
            self._agenda.at(ends)
            return found

        return await self._waiting(queue, wait_s, once)

    async def extend(self, queue: str, receipt: str, seconds: float) -> None:
        self._agenda.at(await self._writer.submit(
            partial(queue_rows.extend, name=queue, receipt=receipt, seconds=seconds), ITEM_BYTES))

    async def settle(
        self, queue: str, receipts: Sequence[str], settlement: Settlement,
    ) -> list[PrismError | None]:
        results, ready = await self._writer.submit(
            partial(queue_rows.settle, name=queue, receipts=receipts, settlement=settlement,
                    max_receives=self._settings.max_receives),
            ITEM_BYTES * len(receipts), frees=settlement.outcome is Outcome.DONE)
        self._agenda.at(ready)
        if settlement.outcome is not Outcome.DONE and not ready:
            self._arrivals.tell((queue, (await self.dead_letters(queue)).queue))
        return results

    # --- queue_dead_letter, queue_delayed -----------------------------------------------------------------------------

    async def configure_dead_letter(self, queue: str, dead_letter_queue: str, max_receives: int) -> None:
        await self._writer.submit(
            partial(queue_rows.configure_dead_letter, name=queue, dead_letter=dead_letter_queue,
                    max_receives=max_receives), ITEM_BYTES)

    async def dead_letters(self, queue: str) -> DeadLetters:
        return await self._readers.run(
            partial(queue_rows.dead_letters, name=queue, max_receives=self._settings.max_receives))

    async def redrive(
        self, queue: str, matching: Mapping[str, str], limit: int, cursor: bytes | None, *, dry_run: bool,
    ) -> Redriven:
        moved, skipped, last = await self._writer.submit(
            partial(queue_rows.redrive, name=queue, matching=matching, limit=limit,
                    after=int(cursor) if cursor else 0, dry_run=dry_run), ITEM_BYTES * limit)
        if moved and not dry_run:
            self._arrivals.tell((queue,))
        return Redriven(moved, skipped, b"%d" % last if last else None)

    async def scheduled(self, queue: str) -> Scheduled:
        return Scheduled(*await self._readers.run(partial(queue_rows.scheduled, name=queue)))

    # --- what comes by itself -----------------------------------------------------------------------------------------

    async def _make_ready(self) -> int:
        moved = await self._writer.submit(
            partial(queue_rows.make_ready, max_receives=self._settings.max_receives), ITEM_BYTES, upkeep=True)
        self._arrivals.tell(moved.queues)
        return self._now_ms() if moved.more else moved.next_ms

    async def _put_back(self, queue: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            await self._writer.submit(
                partial(queue_rows.put_back, name=queue, rows=rows), sum(len(row[-1]) for row in rows))
            self._arrivals.tell((queue,))

    async def _give_back(self, queue: str, receipts: Sequence[str]) -> None:
        if receipts:
            await self._writer.submit(partial(queue_rows.give_back, receipts=receipts), ITEM_BYTES * len(receipts))
            self._arrivals.tell((queue,))

    async def _waiting(
        self, queue: str, wait_s: float, once: Callable[[], Awaitable[list[FoundT]]],
    ) -> list[FoundT]:
        """What `once` finds, as soon as it finds anything, within `wait_s`."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + wait_s
        while True:
            arrival = self._arrivals.expect(queue)
            try:
                found = await once()
                left = ends - loop.time()
                if found or left <= 0:
                    return found
                await asyncio.wait((arrival,), timeout=left)
            finally:
                self._arrivals.forget(queue, arrival)


class _Asked(Generic[ResultT]):
    """A write whose result is lost if its caller goes: then it is not begun, or undone. `undoing` keeps what undoes."""

    def __init__(self, undoing: set[asyncio.Future[None]]) -> None:
        self._undoing = undoing
        self._gone = False

    def wanted(self) -> bool:
        """Asked by the writer's thread."""
        return not self._gone

    async def answer(
        self, writing: Coroutine[Any, Any, ResultT], undo: Callable[[ResultT], Coroutine[Any, Any, None]],
    ) -> ResultT:
        done = asyncio.ensure_future(writing)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            self._gone = True
            done.add_done_callback(partial(self._undo, undo))
            raise

    def _undo(self, undo: Callable[[ResultT], Coroutine[Any, Any, None]], done: asyncio.Future[ResultT]) -> None:
        if not done.cancelled() and done.exception() is None:
            undoing = asyncio.ensure_future(undo(done.result()))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
