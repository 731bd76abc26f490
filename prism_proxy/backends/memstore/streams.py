"""Streams in memory: `models.stream.contract`, all of it. What they hold ends with the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from prism_proxy._native.memstore.store import MessageBytes
from prism_proxy.backends.memstore.alarm import Alarm
from prism_proxy.backends.memstore.stream_groups import Group, Member
from prism_proxy.backends.memstore.stream_log import Kept, StreamLog
from prism_proxy.models.messages import (
    DEAD_LETTER_SUFFIX,
    ERROR_HEADER,
    RETRIES_HEADER,
    SOURCE_HEADER,
    Carrier,
    DeliveryClass,
    Guarantee,
    Sink,
    Traits,
)
from prism_proxy.models.messaging_errors import (
    group_exists,
    group_not_found,
    offset_out_of_range,
    partition_out_of_range,
    stream_not_found,
)
from prism_proxy.models.stream.contract import (
    LATEST,
    Appended,
    GroupInfo,
    Membership,
    NewRecord,
    PartitionInfo,
    ReadFrom,
    Record,
    Retention,
    StreamDetails,
    StreamSettings,
)

TRAITS = Traits(
    Carrier.PARTS, DeliveryClass(
        Guarantee.AT_LEAST_ONCE, "everything", "everything", "per key",
        ("Records are in the memory of this process.",)),
    retention=frozenset({"age", "bytes", "records"}))


class MemstoreStreams:
    """Implements `models.stream.contract.StreamDriver`."""

    traits = TRAITS

    def __init__(self, memory: MessageBytes, now_ms: Callable[[], int]) -> None:
        self._memory = memory
        self._now_ms = now_ms
        self._settings = StreamSettings()
        self._streams: dict[str, StreamLog] = {}
        self._groups: dict[str, dict[str, Group]] = {}
        self._awaited: dict[str, set[asyncio.Event]] = {}  # readers of streams that are not there yet
        self._alarm = Alarm(self._ring, now_ms)

    def configure(self, settings: StreamSettings) -> None:
        self._settings = settings
        for groups in self._groups.values():
            for group in groups.values():
                group.ack_timeout_s, group.max_deliveries = settings.ack_timeout_s, settings.max_deliveries

    def close(self) -> None:
        self._alarm.stop()
        for groups in self._groups.values():
            for group in groups.values():
                group.close()
        for stream in self._streams.values():
            stream.clear()

    def keep_up(self) -> None:
        """Remove what the bounds do not keep."""
        now = self._now_ms()
        for stream in self._streams.values():
            stream.trim(self._retention(stream), now)

    def _ring(self, now_ms: int) -> int:
        times = [group.ring(now_ms) for groups in self._groups.values() for group in groups.values()]
        return min(filter(None, times), default=0)

    def _stream(self, name: str) -> StreamLog:
        found = self._streams.get(name)
        if found is None:
            raise stream_not_found(name)
        return found

    def _made(self, name: str) -> StreamLog:
        found = self._streams.get(name)
        if found is None:
            found = self._streams[name] = StreamLog(name, self._settings.partitions, self._memory)
            for event in self._awaited.pop(name, ()):
                event.set()
        return found

    def _group(self, stream: str, group: str) -> Group:
        found = self._groups.get(stream, {}).get(group)
        if found is None:
            raise group_not_found(stream, group)
        return found

    # --- stream_basic, stream_partitioning ----------------------------------------------------------------------------

    async def append(self, stream: str, records: Sequence[NewRecord], partition: int | None = None) -> Appended:
        log = self._made(stream)
        if partition is not None:
            _check_partition(log, partition)
        now = self._now_ms()
        offsets = log.append(records, partition, now)
        log.trim(self._retention(log), now, len(records) + 4)
        return Appended(min(offsets), max(offsets))

    async def latest_offset(self, stream: str, partition: int) -> int:
        log = self._stream(stream)
        _check_partition(log, partition)
        return log.partitions[partition].latest()

    async def partitions(self, stream: str) -> Sequence[PartitionInfo]:
        return self._stream(stream).info()

    async def read(self, what: ReadFrom, sink: Sink[Record]) -> _Reader:
        log = self._streams.get(what.stream)
        if log is None and not what.follow:
            raise stream_not_found(what.stream)
        if log is not None:
            log.trim(self._retention(log), self._now_ms())
            if what.partition is not None:
                _check_partition(log, what.partition)
            if what.offset > log.next_offset:
                raise offset_out_of_range(what.stream, what.offset, log.next_offset - 1)
        return _Reader(self, what, sink)

    def await_stream(self, name: str, event: asyncio.Event) -> StreamLog | None:
        """The stream; the event is set when it comes to be, where there is none."""
        log = self._streams.get(name)
        if log is None:
            self._awaited.setdefault(name, set()).add(event)
        return log

    def forget(self, name: str, event: asyncio.Event) -> None:
        self._awaited.get(name, set()).discard(event)

    # --- stream_consumer_groups, stream_replay ------------------------------------------------------------------------

    async def create_group(self, stream: str, group: str, start_offset: int) -> None:
        log = self._made(stream)
        groups = self._groups.setdefault(stream, {})
        if group in groups:
            raise group_exists(stream, group)
        start = log.next_offset if start_offset == LATEST else start_offset
        made = groups[group] = Group(log, start, self._now_ms, self._alarm.at, lambda *dead: self._bury(stream, *dead))
        made.ack_timeout_s, made.max_deliveries = self._settings.ack_timeout_s, self._settings.max_deliveries

    async def join(self, member: Membership, sink: Sink[Record]) -> Member:
        return self._group(member.stream, member.group).join(member, sink)

    async def ack(self, stream: str, group: str, partition: int, offsets: Sequence[int]) -> int:
        found = self._group(stream, group)
        _check_partition(self._stream(stream), partition)
        return found.ack(partition, list(offsets))

    async def nack(
        self, stream: str, group: str, partition: int, offsets: Sequence[int], delay_s: float, reason: str,
        *, final: bool = False,
    ) -> int:
        found = self._group(stream, group)
        _check_partition(self._stream(stream), partition)
        return found.nack(partition, list(offsets), delay_s, reason, final=final)

    async def group_info(self, stream: str, group: str) -> GroupInfo:
        return self._group(stream, group).info()

    async def seek_offset(self, stream: str, group: str, partition: int, offset: int) -> int:
        found, log = self._group(stream, group), self._stream(stream)
        _check_partition(log, partition)
        if offset > log.next_offset:
            raise offset_out_of_range(stream, offset, log.next_offset - 1)
        first = log.partitions[partition].at(max(offset, 0)) if offset != LATEST else None
        chosen = first.offset if first is not None else log.next_offset
        found.seek(found.shares[partition], chosen)
        return chosen

    async def seek_timestamp(self, stream: str, group: str, timestamp_ms: int) -> int:
        found, log = self._group(stream, group), self._stream(stream)
        chosen = []
        for share in found.shares:
            first = share.partition.since(timestamp_ms)
            chosen.append(first.offset if first is not None else log.next_offset)
            found.seek(share, chosen[-1])
        return min(chosen)

    def _bury(self, stream: str, kept: Kept, attempts: int, reason: str) -> None:
        """Append to the dead letters, whatever the bound: the record is in memory already."""
        message = replace(kept.message, deduplication_id="", headers={
            **kept.message.headers, SOURCE_HEADER: stream, ERROR_HEADER: reason, RETRIES_HEADER: str(attempts)})
        self._made(stream + DEAD_LETTER_SUFFIX).append([NewRecord(kept.key, message)], None, self._now_ms())

    # --- stream_retention ---------------------------------------------------------------------------------------------

    def _retention(self, log: StreamLog) -> Retention:
        settings = self._settings
        return log.own_retention or Retention(settings.max_age_s, settings.max_bytes, settings.max_records)

    async def set_retention(self, stream: str, retention: Retention) -> None:
        log = self._made(stream)
        log.own_retention = retention
        await self._trim(log)

    async def get_retention(self, stream: str) -> Retention:
        return self._retention(self._stream(stream))

    async def compact(self, stream: str, *, keep_latest_per_key: bool) -> int:
        log = self._stream(stream)
        removed = await self._trim(log)
        return removed + (log.keep_latest_per_key() if keep_latest_per_key else 0)

    # --- stream_operations --------------------------------------------------------------------------------------------

    async def streams(self, limit: int) -> Sequence[str]:
        return [*self._streams][:limit]

    async def describe(self, stream: str) -> StreamDetails:
        return StreamDetails(self._stream(stream).info(), [*self._groups.get(stream, ())])

    async def purge(self, stream: str) -> int:
        log = self._stream(stream)
        removed, end = 0, log.next_offset
        while found := log.drop_before(end):
            removed += found
            await asyncio.sleep(0)
        return removed

    async def delete_group(self, stream: str, group: str) -> None:
        self._group(stream, group).close()
        del self._groups[stream][group]

    async def _trim(self, log: StreamLog) -> int:
        removed = 0
        while found := log.trim(self._retention(log), self._now_ms()):
            removed += found
            await asyncio.sleep(0)
        return removed


class _Reader:
    """An open read: one task. Records of all partitions come in the order in which they were appended."""

    def __init__(self, streams: MemstoreStreams, what: ReadFrom, sink: Sink[Record]) -> None:
        self._streams = streams
        self._what = what
        self._sink = sink
        self._more = asyncio.Event()
        log = streams.await_stream(what.stream, self._more)
        self._end = log.next_offset if log is not None else 1
        self._latest = self._end
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        what = self._what
        try:
            while (log := self._streams.await_stream(what.stream, self._more)) is None:
                await self._more.wait()
                self._more.clear()
            log.watch(self._more)
            start = self._latest if what.offset == LATEST else what.offset
            positions = {partition.number: what.positions.get(partition.number, start) for partition in log.partitions
                         if what.partition in (None, partition.number)}
            await self._all(log, positions)
        finally:
            self._streams.forget(what.stream, self._more)
            if (known := self._streams.await_stream(what.stream, self._more)) is not None:
                known.forget(self._more)
            self._streams.forget(what.stream, self._more)

    async def _all(self, log: StreamLog, positions: dict[int, int]) -> None:
        until = self._what.until
        sent = 0
        while True:
            self._more.clear()
            while (found := _next(log, positions)) is not None:
                number, kept = found
                if (until is not None and kept.offset > until) or (not self._what.follow and kept.offset >= self._end):
                    self._sink.end(None)
                    return
                while not self._sink.push(kept.record(number)):
                    await self._sink.room()
                positions[number] = kept.offset + 1
                sent += 1
                if sent % 100 == 0:
                    await asyncio.sleep(0)
            if not self._what.follow:
                self._sink.end(None)
                return
            await self._more.wait()


def _next(log: StreamLog, positions: dict[int, int]) -> tuple[int, Kept] | None:
    """The record with the lowest offset among the next ones of the partitions."""
    found = [(number, kept) for number, position in positions.items()
             if (kept := log.partitions[number].at(position)) is not None]
    return min(found, key=lambda item: item[1].offset, default=None)


def _check_partition(log: StreamLog, partition: int) -> None:
    if not 0 <= partition < len(log.partitions):
        raise partition_out_of_range(log.name, partition, len(log.partitions))
