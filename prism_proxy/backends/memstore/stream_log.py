"""One stream in memory: its partitions, what is kept of them, and who waits for more."""

from __future__ import annotations

import asyncio
import bisect
import zlib
from collections.abc import Sequence

from prism_proxy._native.memstore.store import MessageBytes
from prism_proxy.backends.memstore.memory import Remembered, size_of
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.stream.contract import NONE, NewRecord, PartitionInfo, Record, Retention

TRIM_AT = 1024  # removed records at the beginning of a partition, before its list is shortened
RECORD_BYTES = 100


class Kept:
    """A record as a stream keeps it."""

    __slots__ = ("appended_ms", "key", "message", "offset", "size")

    def __init__(self, offset: int, key: bytes, message: StoredMessage, appended_ms: int) -> None:
        self.offset = offset
        self.key = key
        self.message = message
        self.appended_ms = appended_ms
        self.size = size_of(message) + len(key) + RECORD_BYTES

    def record(self, partition: int, attempt: int = 0) -> Record:
        message = self.message
        return Record(self.offset, partition, self.key, message.data, message.headers, self.appended_ms,
                      message.message_id, attempt)


class Partition:
    """Records by offset. `start` is the index of the first that is kept: those before it are gone."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.records: list[Kept] = []
        self.start = 0

    def __len__(self) -> int:
        return len(self.records) - self.start

    def at(self, offset: int) -> Kept | None:
        """The first record at or behind an offset."""
        index = self.index(offset)
        return self.records[index] if index < len(self.records) else None

    def index(self, offset: int) -> int:
        return bisect.bisect_left(self.records, offset, self.start, key=lambda kept: kept.offset)

    def since(self, milliseconds: int) -> Kept | None:
        """The first record that is not older."""
        index = bisect.bisect_left(self.records, milliseconds, self.start, key=lambda kept: kept.appended_ms)
        return self.records[index] if index < len(self.records) else None

    def earliest(self) -> int:
        return self.records[self.start].offset if len(self) else NONE

    def latest(self) -> int:
        return self.records[-1].offset if len(self) else NONE

    def drop_first(self) -> Kept:
        first = self.records[self.start]
        self.start += 1
        if self.start >= TRIM_AT and self.start * 2 > len(self.records):
            del self.records[:self.start]
            self.start = 0
        return first

    def keep_latest_per_key(self) -> list[Kept]:
        """Remove all but the newest record of each key; returns what is gone."""
        newest = {kept.key: kept.offset for kept in self.records[self.start:]}
        gone = [kept for kept in self.records[self.start:] if kept.key and newest[kept.key] != kept.offset]
        if gone:
            offsets = {kept.offset for kept in gone}
            self.records = [kept for kept in self.records[self.start:] if kept.offset not in offsets]
            self.start = 0
        return gone


class StreamLog:
    """Offsets count through all partitions, from 1."""

    def __init__(self, name: str, partitions: int, memory: MessageBytes) -> None:
        self.name = name
        self.partitions = [Partition(number) for number in range(partitions)]
        self.next_offset = 1
        self.own_retention: Retention | None = None
        self.remembered = Remembered()
        self.bytes = 0
        self._memory = memory
        self._turn = 0
        self._waiting: set[asyncio.Event] = set()

    def watch(self, event: asyncio.Event) -> None:
        """Set it at each append."""
        self._waiting.add(event)

    def forget(self, event: asyncio.Event) -> None:
        self._waiting.discard(event)

    def append(self, records: Sequence[NewRecord], partition: int | None, now_ms: int) -> list[int]:
        """The offset of each. StoreFull, and nothing is appended, when there is no memory for all of them."""
        made = [Kept(0, key, message, now_ms) for key, message in records]
        self._memory.take(sum(kept.size for kept in made))
        offsets = []
        for kept in made:
            identity = kept.message.deduplication_id
            first = self.remembered.first(identity, now_ms) if identity else None
            if isinstance(first, int):
                self._memory.give(kept.size)
                offsets.append(first)
                continue
            kept.offset = self.next_offset
            self.next_offset += 1
            self.bytes += kept.size
            self.partitions[self._place(kept.key) if partition is None else partition].records.append(kept)
            offsets.append(kept.offset)
            if identity:
                self.remembered.remember(identity, kept.offset, now_ms)
        for event in self._waiting:
            event.set()
        return offsets

    def _place(self, key: bytes) -> int:
        if key:
            return zlib.crc32(key) % len(self.partitions)
        self._turn += 1
        return self._turn % len(self.partitions)

    def trim(self, retention: Retention, now_ms: int, most: int = 1000) -> int:
        """Remove up to `most` records that the bounds do not keep; returns how many went."""
        oldest = now_ms - int(retention.max_age_s * 1000) if retention.max_age_s else 0
        count = sum(len(partition) for partition in self.partitions)
        removed = 0
        while removed < most and count:
            first = min((partition for partition in self.partitions if len(partition)),
                        key=lambda partition: partition.records[partition.start].offset)
            kept = first.records[first.start]
            expires = kept.message.expires_ms
            if not (kept.appended_ms < oldest or 0 < retention.max_bytes < self.bytes
                    or 0 < retention.max_records < count or 0 < expires <= now_ms):
                break
            first.drop_first()
            self._let_go(kept)
            count -= 1
            removed += 1
        return removed

    def drop_before(self, offset: int, most: int = 1000) -> int:
        """Remove up to `most` records in front of an offset; returns how many went."""
        removed = 0
        for partition in self.partitions:
            while removed < most and 0 <= partition.earliest() < offset:
                self._let_go(partition.drop_first())
                removed += 1
        return removed

    def keep_latest_per_key(self) -> int:
        gone = [kept for partition in self.partitions for kept in partition.keep_latest_per_key()]
        for kept in gone:
            self._let_go(kept)
        return len(gone)

    def _let_go(self, kept: Kept) -> None:
        self.bytes -= kept.size
        self._memory.give(kept.size)

    def clear(self) -> None:
        self._memory.give(self.bytes)
        self.bytes = 0
        self.partitions = [Partition(partition.number) for partition in self.partitions]

    def info(self) -> list[PartitionInfo]:
        return [PartitionInfo(partition.number, partition.earliest(), partition.latest(), len(partition))
                for partition in self.partitions]
