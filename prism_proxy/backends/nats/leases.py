"""Leases of messages that this process delivered, and how they end.

JetStream takes a message back after the AckWait of its consumer, which is the visibility of the namespace. A shorter
lease is ended here by giving the message back, a longer one is kept alive here. A receipt names this process, which
other proxies ask; when it is gone, they go by the time that the receipt holds.

    <process>.<sequence>.<deliveries>.<sequence of the consumer>.<epoch ms of its end>
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from prism_proxy.backends.nats.logs import Log
from prism_proxy.backends.nats.pull import Entry


class Receipt(NamedTuple):
    owner: str
    sequence: int
    deliveries: int
    consumer_sequence: int
    ends_ms: int

    def text(self) -> str:
        return ".".join(map(str, self))


def parse_receipt(text: str) -> Receipt | None:
    """None for what is no receipt of ours."""
    owner, *numbers = text.split(".")
    if len(numbers) != 4 or not all(number.isascii() and number.isdigit() for number in numbers):
        return None
    return Receipt(owner, *map(int, numbers))


class Lease:
    def __init__(self, queue: str, log: Log, entry: Entry, until: float) -> None:
        self.queue = queue
        self.log = log
        self.sequence = entry.sequence
        self.deliveries = entry.deliveries
        self.reply = entry.reply
        self.until = until
        self.timer: asyncio.TimerHandle | None = None


class Leases:
    """`on_over(lease)` is called when one is over, `on_progress(lease)` when the server must hear that it goes on."""

    def __init__(self, owner: str, on_over: Callable[[Lease], None], on_progress: Callable[[Lease], None]) -> None:
        self.owner = owner
        self._on_over = on_over
        self._on_progress = on_progress
        self._open: dict[tuple[str, int, int], Lease] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, queue: str, log: Log, entry: Entry, seconds: float, ack_wait_s: float) -> str:
        """The receipt of a new lease."""
        lease = Lease(queue, log, entry, asyncio.get_running_loop().time() + seconds)
        self._open[log.stream, entry.sequence, entry.deliveries] = lease
        self._schedule(lease, ack_wait_s)
        return Receipt(self.owner, entry.sequence, entry.deliveries, entry.consumer_sequence,
                       int((time.time() + seconds) * 1000)).text()

    def find(self, log: Log, receipt: Receipt) -> Lease | None:
        return self._open.get((log.stream, receipt.sequence, receipt.deliveries))

    def extend(self, lease: Lease, seconds: float, ack_wait_s: float) -> None:
        lease.until = asyncio.get_running_loop().time() + seconds
        self._on_progress(lease)
        self._schedule(lease, ack_wait_s)

    def remove(self, lease: Lease) -> None:
        self._open.pop((lease.log.stream, lease.sequence, lease.deliveries), None)
        if lease.timer is not None:
            lease.timer.cancel()

    def restore(self, lease: Lease, ack_wait_s: float) -> None:
        """It could not be ended at the server."""
        self._open[lease.log.stream, lease.sequence, lease.deliveries] = lease
        self._schedule(lease, ack_wait_s)

    def sequences(self, log: Log) -> set[int]:
        """What is leased of a log."""
        return {sequence for stream, sequence, _ in self._open if stream == log.stream}

    def of(self, log: Log) -> list[Lease]:
        return [lease for lease in self._open.values() if lease.log.stream == log.stream]

    def clear(self) -> None:
        """They go on at the server, for as long as its AckWait."""
        for lease in self._open.values():
            if lease.timer is not None:
                lease.timer.cancel()
        self._open.clear()

    def _schedule(self, lease: Lease, ack_wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        if lease.timer is not None:
            lease.timer.cancel()
        left = lease.until - loop.time()
        if left <= 0.9 * ack_wait_s:
            lease.timer = loop.call_at(lease.until, self._over, lease)
        else:
            lease.timer = loop.call_later(ack_wait_s / 2, self._continue, lease, ack_wait_s)

    def _continue(self, lease: Lease, ack_wait_s: float) -> None:
        self._on_progress(lease)
        self._schedule(lease, ack_wait_s)

    def _over(self, lease: Lease) -> None:
        self.remove(lease)
        self._on_over(lease)
