"""One reader of a log: pages of the file to a sink, as fast as the sink takes them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Generic, TypeVar

from prism_proxy.backends.sqlite.errors import CLOSED
from prism_proxy.backends.sqlite.messaging import log_rows
from prism_proxy.backends.sqlite.messaging.arrivals import Arrivals
from prism_proxy.backends.sqlite.messaging.log_rows import Part
from prism_proxy.backends.sqlite.readers import Readers
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import Sink
from prism_proxy.models.stream.contract import Record

RETRY_SECONDS = 0.25
DAMAGED = "records of the file are damaged"
DeliveryT = TypeVar("DeliveryT")


async def give(sink: Sink[DeliveryT], delivery: DeliveryT) -> None:
    """Push, and again when there is room."""
    while not sink.push(delivery):
        await sink.room()


class LogReader:
    """What every reader of logs needs: the file, who tells of arrivals, and the time."""

    def __init__(self, readers: Readers, arrivals: Arrivals, now_ms: Callable[[], int]) -> None:
        self._readers = readers
        self.arrivals = arrivals
        self._now_ms = now_ms

    async def page(
        self, part: Part, offset: int, until: int = log_rows.LAST_OFFSET, limit: int = log_rows.PAGE_RECORDS,
    ) -> tuple[list[Record], int, int]:
        """As `log_rows.page`. A file that cannot be read now is waited for. PrismError STORE_CLOSED."""
        while True:
            try:
                return await self._readers.run(partial(
                    log_rows.page, part=part, offset=offset, until=until, limit=limit, now_ms=self._now_ms()))
            except (PrismError, sqlite3.Error) as error:
                if isinstance(error, PrismError) and error.reason == CLOSED:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def records(
        self, name: str, parts: list[tuple[Part, int, int | None]], missed: Callable[[int, str], None],
        follow: bool = True,
    ) -> AsyncGenerator[Record, None]:
        """Records of partitions from an offset up to one, or for ever for None, partition by partition as they have
        any; without `follow` it ends where there are no more."""
        at = {part.number: offset for part, offset, _ in parts}
        open_parts = parts
        while open_parts:
            arrival = self.arrivals.expect(name)
            try:
                found = False
                left = []
                for part, start, until in open_parts:
                    records, following, damaged = await self.page(
                        part, at[part.number], log_rows.LAST_OFFSET if until is None else until)
                    if damaged:
                        missed(damaged, DAMAGED)
                    for record in records:
                        yield record
                    moved = following > at[part.number]
                    found = found or moved
                    at[part.number] = max(following, at[part.number])
                    if (follow or moved) and (until is None or at[part.number] <= until):
                        left.append((part, start, until))
                open_parts = left
                if open_parts and not found:
                    await arrival
            finally:
                self.arrivals.forget(name, arrival)


class Reading(Generic[DeliveryT]):
    """An open read; implements `models.messages.Active`."""

    def __init__(self, running: AsyncGenerator[DeliveryT, None], sink: Sink[DeliveryT]) -> None:
        self._sink = sink
        self._task = asyncio.get_running_loop().create_task(self._run(running))

    async def _run(self, running: AsyncGenerator[DeliveryT, None]) -> None:
        try:
            async with contextlib.aclosing(running):
                async for delivery in running:
                    await give(self._sink, delivery)
        except PrismError as error:
            self._sink.end(error)
        else:
            self._sink.end(None)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
