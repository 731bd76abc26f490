"""The bounded buffer between a driver and one reader of a stream: the `Sink` of the driver contract.

A reader loses nothing: when it is full the driver waits for room, and its backend keeps what comes meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque

from prism_proxy.errors import PrismError
from prism_proxy.models.stream.contract import Record

OVERHEAD_BYTES = 256  # counted for each record that waits, beside its bytes


class ReadBuffer:
    """An empty buffer takes a record of any size."""

    def __init__(self, records: int, size: int) -> None:
        self._records = records
        self._bytes = size
        self._waiting: deque[Record] = deque()
        self._held = 0
        self._ended = False
        self._error: PrismError | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # --- the driver's side --------------------------------------------------------------------------------------------

    @property
    def credit(self) -> int:
        if self._ended:
            return 1  # what comes now is discarded
        return max(0, self._records - len(self._waiting)) if self._held < self._bytes else 0

    def push(self, record: Record) -> bool:
        if self._ended:
            return True
        if not self.credit:
            return False
        self._waiting.append(record)
        self._held += len(record.data) + OVERHEAD_BYTES
        self._arrived.set()
        if not self.credit:
            self._room.clear()
        return True

    async def room(self) -> None:
        await self._room.wait()

    def missed(self, count: int | None, why: str) -> None:
        """Nothing is missed: a stream keeps what was not read."""

    def end(self, error: PrismError | None) -> None:
        """What waits is still read."""
        if not self._ended:
            self._ended, self._error = True, error
            self._arrived.set()
            self._room.set()

    # --- the caller's side --------------------------------------------------------------------------------------------

    async def take(self) -> Record | None:
        """The next record; None at the end. PrismError when the read failed."""
        while not self._waiting:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._arrived.clear()
            await self._arrived.wait()
        record = self._waiting.popleft()
        self._held -= len(record.data) + OVERHEAD_BYTES
        if self.credit:
            self._room.set()
        return record
