"""The bounded buffer between a driver, which pushes, and one reader, who takes.

    open --push--> waiting --take--> the reader
      |-- full: not taken, the driver waits for `room`
      `-- ended: by the driver or the reader's side
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Protocol, TypeVar

from prism_proxy.errors import PrismError

OVERHEAD_BYTES = 256  # counted for each item that waits, beside its bytes


class _Item(Protocol):
    @property
    def data(self) -> bytes: ...


ItemT = TypeVar("ItemT", bound=_Item)


class Buffer(Generic[ItemT]):
    """A `Sink` that loses nothing. An empty one takes an item of any size. `fails_at_once`: an error ends it before
    what waits is read."""

    fails_at_once = False

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: deque[ItemT] = deque()
        self._bytes = 0
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
        if not self._waiting:
            return self._most
        return max(0, self._most - len(self._waiting)) if self._bytes < self._most_bytes else 0

    def push(self, item: ItemT) -> bool:
        if self._ended:
            return True
        size = self._size(item)
        if not self.credit or not self._taken(size):
            return self._full()
        self._waiting.append(item)
        self._bytes += size
        self._arrived.set()
        if not self.credit:
            self._room.clear()
        return True

    async def room(self) -> None:
        await self._room.wait()

    def missed(self, count: int | None, why: str) -> None:
        """Nothing is missed: a reader is waited for."""

    def end(self, error: PrismError | None) -> None:
        if not self._ended:
            self._ended, self._error = True, error
            self._arrived.set()
            self._room.set()

    def _size(self, item: ItemT) -> int:
        return len(item.data) + OVERHEAD_BYTES

    def _taken(self, size: int) -> bool:
        """Whether there is room for so much beside what this buffer allows itself."""
        return True

    def _gave(self, size: int) -> None:
        """So much does not wait any more."""

    def _full(self) -> bool:
        """What `push` answers without room."""
        self._room.clear()
        return False

    # --- the reader's side --------------------------------------------------------------------------------------------

    async def take(self) -> ItemT | None:
        """The next item; None at the end. PrismError when it failed."""
        while not self._waiting or (self.fails_at_once and self._error is not None):
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._arrived.clear()
            await self._arrived.wait()
        item = self._waiting.popleft()
        self._let_go(self._size(item))
        if self.credit:
            self._room.set()
        return item

    def close(self) -> None:
        """Nothing that waits will be taken."""
        self._waiting.clear()
        self._let_go(self._bytes)

    def _let_go(self, size: int) -> None:
        self._bytes -= size
        self._gave(size)
