"""One queue in memory: its messages by state, and who waits for them. It knows no bound and no other queue."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from prism_proxy.backends.memstore.memory import Remembered, size_of
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import MAX_PRIORITY, Counts, QueuedMessage

_sequences = itertools.count(1)
_EPOCH = secrets.token_hex(4)  # a receipt of an earlier process is none of this one


_Heap = list[tuple[int, int, "Entry", int]]  # due, sequence, entry, and its turn when it was put there


class Entry:
    """A message of a queue. It lies in a deque or heap that may hold it longer than the queue does: `turn` tells
    whether what is found there is still meant."""

    __slots__ = ("due_ms", "enqueued_ms", "message", "priority", "reason", "receipt", "receives", "sequence", "size",
                 "turn")

    def __init__(self, message: StoredMessage, priority: int, enqueued_ms: int, size: int) -> None:
        self.message = message
        self.priority = priority
        self.enqueued_ms = enqueued_ms
        self.size = size
        self.sequence = next(_sequences)
        self.receives = 0
        self.reason = ""
        self.receipt = ""
        self.due_ms = 0  # of the lease or the schedule
        self.turn = 0

    def seen(self, receives: int, receipt: str = "") -> QueuedMessage:
        message = self.message
        return QueuedMessage(message.data, message.headers, message.message_id, self.enqueued_ms, self.priority,
                             receives, receipt)

    def moved(self, headers: Mapping[str, str]) -> Entry:
        """The message with these headers, at the end of another queue. When it was enqueued stays."""
        message = replace(self.message, headers=headers)
        return Entry(message, self.priority, self.enqueued_ms, size_of(message))


class Queue:
    """`entries` has all that is held, by sequence."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: dict[int, Entry] = {}
        self.remembered = Remembered()
        self.dead_letters: tuple[str, int] | None = None
        self._ready: list[deque[tuple[Entry, int]]] = [deque() for _ in range(MAX_PRIORITY + 1)]
        self._leases: dict[str, Entry] = {}
        self._ends: _Heap = []  # of leases
        self._schedule: _Heap = []
        self._expiries: _Heap = []
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.ready_count = 0
        self._scheduled = 0
        self._turns = itertools.count(1)

    @property
    def idle(self) -> bool:
        """Nobody would miss it."""
        return not (self.entries or self._waiters or self.dead_letters or self.remembered)

    # --- entries ------------------------------------------------------------------------------------------------------

    def add(self, entry: Entry, due_ms: int) -> int:
        """A new arrival, ready at once or at `due_ms`. Returns when the queue must be looked at next, for its sake."""
        self.entries[entry.sequence] = entry
        self.put_back(entry, due_ms)
        expires = entry.message.expires_ms
        if expires:
            heapq.heappush(self._expiries, (expires, entry.sequence, entry, 0))
        return min(filter(None, (due_ms, expires)), default=0)

    def put_back(self, entry: Entry, due_ms: int) -> int:
        entry.turn = next(self._turns)
        entry.due_ms = due_ms
        if due_ms:
            self._scheduled += 1
            heapq.heappush(self._schedule, (due_ms, entry.sequence, entry, entry.turn))
        else:
            self.ready_count += 1
            self._ready[entry.priority].append((entry, entry.turn))
        return due_ms

    def forget(self, entry: Entry) -> int:
        """It is gone. Returns its size."""
        if self.entries.pop(entry.sequence, None) is None:
            return 0
        self._unlink(entry)
        return entry.size

    def _unlink(self, entry: Entry) -> None:
        if entry.receipt:
            self._leases.pop(entry.receipt, None)
            entry.receipt = ""
        elif entry.turn and entry.due_ms:
            self._scheduled -= 1
        elif entry.turn:
            self.ready_count -= 1
        entry.turn = 0

    def clear(self) -> int:
        size = sum(entry.size for entry in self.entries.values())
        self.entries.clear()
        return size

    # --- ready --------------------------------------------------------------------------------------------------------

    def ready(self, now_ms: int) -> Iterator[Entry]:
        """In the order in which they are delivered."""
        self.make_ready(now_ms)
        for line in reversed(self._ready):
            for entry, turn in list(line):
                if entry.turn == turn and not _expired(entry, now_ms):
                    yield entry

    def first(self, count: int, now_ms: int) -> list[Entry]:
        return list(itertools.islice(self.ready(now_ms), count))

    def pop(self, count: int, now_ms: int, give: Callable[[int], None]) -> list[Entry]:
        """Take up to `count` out of the line; they are the caller's to lease or forget. Expired ones go."""
        self.make_ready(now_ms)
        taken: list[Entry] = []
        for line in reversed(self._ready):
            while line and len(taken) < count:
                entry, turn = line.popleft()
                if entry.turn != turn:
                    continue
                if _expired(entry, now_ms):
                    give(self.forget(entry))
                    continue
                self._unlink(entry)
                taken.append(entry)
        return taken

    def make_ready(self, now_ms: int) -> None:
        """What was scheduled for a time that has come."""
        while self._schedule and self._schedule[0][0] <= now_ms:
            _, _, entry, turn = heapq.heappop(self._schedule)
            if entry.turn == turn:
                self._scheduled -= 1
                self.put_back(entry, 0)

    def drop_expired(self, now_ms: int, most: int = 1000) -> int:
        """Forget up to `most` messages that expired; returns how many bytes. Leased ones are left to their consumer."""
        size = 0
        while self._expiries and self._expiries[0][0] <= now_ms and most:
            entry = heapq.heappop(self._expiries)[2]
            most -= 1
            if not entry.receipt:
                size += self.forget(entry)
        return size

    # --- leases -------------------------------------------------------------------------------------------------------

    def lease(self, entry: Entry, due_ms: int) -> None:
        entry.turn = next(self._turns)
        entry.receives += 1
        entry.receipt = f"m.{_EPOCH}.{entry.sequence}.{entry.receives}"
        entry.due_ms = due_ms
        self._leases[entry.receipt] = entry
        heapq.heappush(self._ends, (due_ms, entry.sequence, entry, entry.turn))

    def extend(self, receipt: str, due_ms: int) -> bool:
        entry = self._leases.get(receipt)
        if entry is None:
            return False
        entry.turn = next(self._turns)
        entry.due_ms = due_ms
        heapq.heappush(self._ends, (due_ms, entry.sequence, entry, entry.turn))
        return True

    def release(self, receipt: str) -> Entry | None:
        entry = self._leases.get(receipt)
        if entry is not None:
            self._unlink(entry)
        return entry

    def overdue(self, now_ms: int) -> list[Entry]:
        """Leases whose time is over; they are the caller's to put back or forget."""
        found = []
        while self._ends and self._ends[0][0] <= now_ms:
            _, _, entry, turn = heapq.heappop(self._ends)
            if entry.turn == turn:
                self._unlink(entry)
                found.append(entry)
        return found

    # --- counts and waiting -------------------------------------------------------------------------------------------

    def next_due(self) -> int:
        """The earliest time at which something changes by itself; 0 = never."""
        for heap in (self._ends, self._schedule):
            while heap and heap[0][2].turn != heap[0][3]:
                heapq.heappop(heap)
        while self._expiries and self._expiries[0][1] not in self.entries:
            heapq.heappop(self._expiries)
        return min((heap[0][0] for heap in (self._ends, self._schedule, self._expiries) if heap), default=0)

    def scheduled(self, now_ms: int) -> tuple[int, int]:
        self.make_ready(now_ms)
        self.next_due()  # what is not meant any more is gone from the head
        return self._scheduled, self._schedule[0][0] if self._scheduled else 0

    def counts(self, now_ms: int) -> Counts:
        self.make_ready(now_ms)
        oldest = min((entry.enqueued_ms for entry in itertools.islice(self.ready(now_ms), 1)), default=0)
        return Counts(self.ready_count, len(self._leases), self._scheduled, oldest)

    async def wait(self, seconds: float) -> None:
        """Return when something may have come, or after `seconds`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
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


def _expired(entry: Entry, now_ms: int) -> bool:
    return 0 < entry.message.expires_ms <= now_ms
