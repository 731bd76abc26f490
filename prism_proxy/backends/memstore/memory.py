"""What topics, streams and queues in memory share: how large a message is, the time, and deduplication ids.

The one bound of a memory namespace is `MessageBytes`: messages count into the `max_bytes` of the keys and values.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from prism_proxy.models.messages import DEDUPLICATION_SECONDS, StoredMessage

MESSAGE_BYTES = 400  # of a message beside its data and headers
MAX_REMEMBERED = 1_000_000  # deduplication ids of one place


def size_of(message: StoredMessage) -> int:
    return (len(message.data) + len(message.deduplication_id) + MESSAGE_BYTES
            + sum(len(key) + len(value) for key, value in message.headers.items()))


class Clock:
    """Epoch milliseconds. With a monotonic clock of a test, time passes as that one says."""

    def __init__(self, clock: Callable[[], int] | None) -> None:
        self._clock = clock or time.monotonic_ns
        self._shift = time.time_ns() - self._clock() if clock is not None else None

    def now_ms(self) -> int:
        if self._shift is None:
            return time.time_ns() // 1_000_000
        return (self._clock() + self._shift) // 1_000_000


class Remembered:
    """The deduplication ids of the last DEDUPLICATION_SECONDS in one topic, stream or queue."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, tuple[int, object]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._ids)

    def first(self, identity: str, now_ms: int) -> object | None:
        """What was remembered for it, None when it is new."""
        while self._ids:
            oldest = next(iter(self._ids))
            if self._ids[oldest][0] > now_ms and len(self._ids) <= MAX_REMEMBERED:
                break
            del self._ids[oldest]
        found = self._ids.get(identity)
        return None if found is None else found[1]

    def remember(self, identity: str, what: object, now_ms: int) -> None:
        self._ids[identity] = (now_ms + int(DEDUPLICATION_SECONDS * 1000), what)
