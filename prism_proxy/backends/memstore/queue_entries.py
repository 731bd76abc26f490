"""One queue in memory: its messages, what is said of it, and who waits for it. It knows no bound and no other queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from prism_proxy._native.queue.entries import Entry, QueueEntries
from prism_proxy.backends.memstore.memory import Remembered, size_of
from prism_proxy.models.queue.contract import Counts, QueuedMessage


class Queue(QueueEntries):
    """The messages by state are the base's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.remembered = Remembered()
        self.dead_letters: tuple[str, int] | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def idle(self) -> bool:
        """Nobody would miss it."""
        return not (self.entries or self.waiting or self.dead_letters or self.remembered)

    def counts(self, now_ms: int) -> Counts:
        scheduled, _ = self.scheduled(now_ms)
        oldest = min((entry.enqueued_ms for entry in self.ready(now_ms, 1)), default=0)
        return Counts(self.ready_count, self.lease_count, scheduled, oldest)

    async def wait(self, seconds: float) -> None:
        """Return when something may have come, or after `seconds`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.wake()  # it was meant for one that will take it
            raise
        finally:
            self.waiting -= 1
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def wake(self) -> None:
        """One that waits for each message that is ready."""
        for _ in range(min(self.ready_count, len(self._waiters))):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)


def seen(entry: Entry, receives: int, receipt: str = "") -> QueuedMessage:
    """The message as a consumer gets it."""
    message = entry.message
    return QueuedMessage(message.data, message.headers, message.message_id, entry.enqueued_ms, entry.priority, receives,
                         receipt)


def moved(entry: Entry, headers: Mapping[str, str]) -> Entry:
    """The message with these headers, at the end of another queue. When it was enqueued stays."""
    message = replace(entry.message, headers=headers)
    return Entry(message, entry.priority, entry.enqueued_ms, size_of(message))
