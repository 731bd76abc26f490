"""Open transactions of a namespace: handles, buffers and time limits. Isolation is serializable, checked at Commit.

    BeginTransaction --> open --Commit--> applied, or ABORTED (something read has changed)
                          |  \\--Rollback--> gone
                          +-- time over --> gone (the handle answers ABORTED)

A handle names the process and the epoch that made it, so that a handle from before a restart is told from nonsense.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from prism_proxy.errors import PrismError, StatusCode, invalid

MAX_OPEN = 1000
MAX_BUFFER_BYTES = 16 * 1024 * 1024
DEFAULT_TIMEOUT_MS = 30_000
MAX_TIMEOUT_MS = 300_000


@dataclass
class Transaction:
    """Reads are versions by key, writes values by key; `buffered` counts the bytes of the writes."""

    deadline: float
    reads: dict[bytes, int] = field(default_factory=dict)
    writes: dict[bytes, bytes] = field(default_factory=dict)
    buffered: int = 0
    doomed: bool = False

    def read(self, key: bytes, version: int) -> None:
        """Remember what was seen. Two different versions of one key can no longer commit."""
        if self.reads.setdefault(key, version) != version:
            self.doomed = True

    def write(self, key: bytes, value: bytes) -> None:
        growth = len(value) - len(self.writes[key]) if key in self.writes else len(key) + len(value)
        if self.buffered + growth > MAX_BUFFER_BYTES:
            raise PrismError(StatusCode.RESOURCE_EXHAUSTED, "TRANSACTION_TOO_LARGE",
                             f"a transaction buffers at most {MAX_BUFFER_BYTES} bytes of writes: commit in parts")
        self.buffered += growth
        self.writes[key] = value

    def check(self) -> None:
        if self.doomed:
            raise self.conflict()

    @staticmethod
    def conflict() -> PrismError:
        return PrismError(StatusCode.ABORTED, "TRANSACTION_CONFLICT",
                          "something this transaction read has changed since: begin again", retry_after=0.0)


class Transactions:
    """`process` names proxy and worker; `clock` is monotonic seconds, `wall` epoch seconds."""

    def __init__(self, process: str = "local-0", clock: Callable[[], float] = time.monotonic,
                 wall: Callable[[], float] = time.time) -> None:
        self._prefix = f"{process}.{secrets.token_hex(4)}."
        self._clock = clock
        self._wall = wall
        self._open: dict[str, Transaction] = {}

    def begin(self, timeout_ms: int, isolation: int) -> tuple[str, int]:
        """(handle, expiry in epoch ms). 0 ms is the default of 30 s."""
        if isolation != 0:
            raise invalid("isolation", f"isolation is {isolation}; only 0 (serializable) is offered", constraint="0")
        if not 0 <= timeout_ms <= MAX_TIMEOUT_MS:
            raise invalid("timeout_ms", f"timeout_ms is {timeout_ms}; at most {MAX_TIMEOUT_MS} are allowed",
                          constraint=f"0 to {MAX_TIMEOUT_MS}")
        timeout_s = (timeout_ms or DEFAULT_TIMEOUT_MS) / 1000
        if len(self._open) >= MAX_OPEN:
            self._sweep()
        if len(self._open) >= MAX_OPEN:
            raise PrismError(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_TRANSACTIONS",
                             f"{MAX_OPEN} transactions are open in this namespace: commit or roll back some",
                             retry_after=1.0)
        handle = self._prefix + secrets.token_hex(8)
        self._open[handle] = Transaction(self._clock() + timeout_s)
        return handle, int((self._wall() + timeout_s) * 1000)

    def find(self, handle: str) -> Transaction:
        """The open transaction of a handle. ABORTED when its time is over, NOT_FOUND for any other handle."""
        transaction = self._open.get(handle)
        if transaction is None:
            raise self._unknown(handle)
        if transaction.deadline <= self._clock():
            del self._open[handle]
            raise PrismError(StatusCode.ABORTED, "TRANSACTION_EXPIRED",
                             "the time of this transaction is over: begin again with a larger timeout_ms")
        return transaction

    def take(self, handle: str) -> Transaction:
        """As `find`, and the handle is used up."""
        transaction = self.find(handle)
        del self._open[handle]
        return transaction

    def _unknown(self, handle: str) -> PrismError:
        parts = handle.split(".")
        if len(parts) == 3 and not handle.startswith(self._prefix):
            return PrismError(StatusCode.ABORTED, "TRANSACTION_LOST",
                              "the process that held this transaction is gone: begin again")
        return PrismError(StatusCode.NOT_FOUND, "TRANSACTION_NOT_FOUND",
                          "no such transaction: it was committed, rolled back, timed out, or never begun")

    def _sweep(self) -> None:
        now = self._clock()
        for handle in [handle for handle, item in self._open.items() if item.deadline <= now]:
            del self._open[handle]
