"""Open transactions of a namespace: handles, buffers and time limits. Isolation is serializable, checked at Commit.

    BeginTransaction --> open --Commit--> applied, or ABORTED (something read has changed)
                          |  \\--Rollback--> gone
                          +-- time over --> gone

A handle names the process and the epoch that made it, so that a handle from before a restart is told from nonsense.
A timer ends what its caller abandoned, so that buffers are freed; the deadline itself is checked on every use.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.handles import HandleMaker, worker_of

MAX_OPEN = 1000
MAX_BUFFER_BYTES = 16 * 1024 * 1024
MAX_BUFFERED_BYTES = 256 * 1024 * 1024  # by all that are open
MAX_KEYS = 1000  # read and written: a local store applies them in one piece, within the 2 ms that a call may take
DEFAULT_TIMEOUT_MS = 30_000
MAX_TIMEOUT_MS = 300_000
ENTRY_BYTES = 64  # counted for each key besides its bytes, so that many small ones are bounded too


@dataclass
class Buffers:
    """Bytes that all open transactions of a namespace hold."""

    used: int = 0


@dataclass
class Transaction:
    """Reads are versions by key, writes values by key; `buffered` counts the bytes of both."""

    deadline: float
    timer: asyncio.TimerHandle
    buffers: Buffers
    reads: dict[bytes, int] = field(default_factory=dict)
    writes: dict[bytes, bytes] = field(default_factory=dict)
    buffered: int = 0
    doomed: bool = False

    def read(self, key: bytes, version: int) -> None:
        """Remember what was seen. Two different versions of one key can no longer commit."""
        if key not in self.reads:
            self._grow(ENTRY_BYTES + len(key), 1)
            self.reads[key] = version
        elif self.reads[key] != version:
            self.doomed = True
            raise self.conflict()

    def write(self, key: bytes, value: bytes) -> None:
        if key in self.writes:
            self._grow(len(value) - len(self.writes[key]), 0)
        else:
            self._grow(ENTRY_BYTES + len(key) + len(value), 1)
        self.writes[key] = value

    def _grow(self, size: int, keys: int) -> None:
        if self.buffered + size > MAX_BUFFER_BYTES or len(self.reads) + len(self.writes) + keys > MAX_KEYS:
            raise PrismError(StatusCode.RESOURCE_EXHAUSTED, "TRANSACTION_TOO_LARGE",
                             f"a transaction buffers at most {MAX_BUFFER_BYTES} bytes, and reads and writes at most "
                             f"{MAX_KEYS} keys: commit in parts")
        if self.buffers.used + size > MAX_BUFFERED_BYTES:
            raise PrismError(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_TRANSACTIONS",
                             f"the open transactions of this namespace buffer {MAX_BUFFERED_BYTES} bytes: commit or "
                             "roll back some", retry_after=1.0)
        self.buffered += size
        self.buffers.used += size

    def check(self) -> None:
        if self.doomed:
            raise self.conflict()

    @staticmethod
    def conflict() -> PrismError:
        return PrismError(StatusCode.ABORTED, "TRANSACTION_CONFLICT",
                          "something this transaction read has changed since, and nothing was applied: begin again")


class Transactions:
    """`process` names proxy and worker; `clock` is monotonic seconds, `wall` epoch seconds."""

    def __init__(self, process: str = "local-0", clock: Callable[[], float] = time.monotonic,
                 wall: Callable[[], float] = time.time) -> None:
        self._handles = HandleMaker(process)
        self._clock = clock
        self._wall = wall
        self._open: dict[str, Transaction] = {}
        self._buffers = Buffers()
        self._users = 1

    def shared(self) -> Transactions:
        """The same transactions for one more user; each calls `close`."""
        self._users += 1
        return self

    def begin(self, timeout_ms: int, isolation: int) -> tuple[str, int]:
        """(handle, expiry in epoch ms). 0 ms is the default of 30 s."""
        if isolation != 0:
            raise invalid("isolation", f"isolation is {isolation}; only 0 (serializable) is offered", constraint="0")
        if not 0 <= timeout_ms <= MAX_TIMEOUT_MS:
            raise invalid("timeout_ms", f"timeout_ms is {timeout_ms}; at most {MAX_TIMEOUT_MS} are allowed",
                          constraint=f"0 to {MAX_TIMEOUT_MS}")
        timeout_s = (timeout_ms or DEFAULT_TIMEOUT_MS) / 1000
        if len(self._open) >= MAX_OPEN:
            raise PrismError(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_TRANSACTIONS",
                             f"{MAX_OPEN} transactions are open in this namespace: commit or roll back some",
                             retry_after=1.0)
        handle = self._handles.make()
        timer = asyncio.get_running_loop().call_later(timeout_s, self._end, handle)
        self._open[handle] = Transaction(self._clock() + timeout_s, timer, self._buffers)
        return handle, int((self._wall() + timeout_s) * 1000)

    def find(self, handle: str) -> Transaction:
        """The open transaction of a handle. ABORTED when it is over, INVALID_ARGUMENT for what is no handle."""
        transaction = self._open.get(handle)
        if transaction is None:
            raise self._unknown(handle)
        if transaction.deadline <= self._clock():
            self._end(handle)
            raise self._unknown(handle)
        return transaction

    def take(self, handle: str) -> Transaction:
        """As `find`, and the handle is used up."""
        transaction = self.find(handle)
        self._end(handle)
        return transaction

    def close(self) -> None:
        """End all of them, when no other user is left."""
        self._users -= 1
        if self._users > 0:
            return
        for handle in list(self._open):
            self._end(handle)

    def __len__(self) -> int:
        return len(self._open)

    def _end(self, handle: str) -> None:
        transaction = self._open.pop(handle)
        transaction.timer.cancel()
        self._buffers.used -= transaction.buffered

    def _unknown(self, handle: str) -> PrismError:
        if self._handles.made(handle):
            return PrismError(StatusCode.ABORTED, "TRANSACTION_ENDED",
                              "this transaction was committed, rolled back, or its time is over: begin again")
        if worker_of(handle) is not None:
            return PrismError(StatusCode.ABORTED, "TRANSACTION_LOST",
                              "the process that held this transaction is gone, and nothing was applied: begin again")
        return invalid("transaction_id", "transaction_id is not one that BeginTransaction returned",
                       reason="INVALID_TRANSACTION_ID", value=handle)
