"""The one bound of a memory namespace: what messages hold counts into the `max_bytes` of the keys and values."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from prism_proxy._native.memstore.store import MemStore, StoreFull
from prism_proxy.models.messages import DEDUPLICATION_SECONDS, StoredMessage

MESSAGE_BYTES = 400  # of a message beside its data and headers
STEP = 64 * 1024  # the store hears of messages in steps of so many bytes
MAX_REMEMBERED = 1_000_000  # deduplication ids of one place


def size_of(message: StoredMessage) -> int:
    return (len(message.data) + len(message.deduplication_id) + MESSAGE_BYTES
            + sum(len(key) + len(value) for key, value in message.headers.items()))


class Memory:
    """`take` before something is held, `give` when it is let go of."""

    def __init__(self, store: MemStore, max_bytes: int, max_keys: int) -> None:
        self._store = store
        self._max_bytes, self._max_keys = max_bytes, max_keys
        self.held = 0
        self._told = 0
        self.refused = 0

    def take(self, size: int) -> None:
        """StoreFull when it does not fit beside keys, values and what is held."""
        if self.held + size + self._store.counters()["bytes"] > self._max_bytes:
            self.refused += 1
            raise StoreFull
        self._change(size)

    def give(self, size: int) -> None:
        self._change(-size)

    def resize(self, max_bytes: int, max_keys: int) -> None:
        self._max_bytes, self._max_keys = max_bytes, max_keys
        self._tell()

    def _change(self, size: int) -> None:
        self.held += size
        if abs(self.held - self._told) >= STEP:
            self._tell()

    def _tell(self) -> None:
        self._told = self.held
        self._store.resize(max(self._max_bytes - self.held, 1), self._max_keys)


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
