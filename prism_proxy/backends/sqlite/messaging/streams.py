"""Streams of a SQLite namespace: `models.stream.contract`, all of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

from prism_proxy.backends.sqlite.messaging import log_rows
from prism_proxy.backends.sqlite.messaging.arrivals import Arrivals
from prism_proxy.backends.sqlite.messaging.groups import Group, Partition
from prism_proxy.backends.sqlite.messaging.log_rows import Stored
from prism_proxy.backends.sqlite.messaging.reading import LogReader, Reading
from prism_proxy.backends.sqlite.operations import Session
from prism_proxy.backends.sqlite.readers import Readers
from prism_proxy.backends.sqlite.writer import Writer
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import (
    DEAD_LETTER_SUFFIX,
    ERROR_HEADER,
    RETRIES_HEADER,
    SOURCE_HEADER,
    Active,
    Sink,
    Traits,
)
from prism_proxy.models.messaging_errors import group_exists, group_not_found, offset_out_of_range, stream_not_found
from prism_proxy.models.stream.contract import (
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

RECORD_BYTES = 128  # of the writer's queue, for what a record costs beside its data
KIND: log_rows.Kind = "stream"
GroupKey = tuple[str, str]


class SqliteStreams:
    """Implements `models.stream.contract.StreamDriver`."""

    def __init__(self, writer: Writer, readers: Readers, now_ms: Callable[[], int], traits: Traits) -> None:
        self.traits = traits
        self._writer = writer
        self._readers = readers
        self._now_ms = now_ms
        self._settings = StreamSettings()
        self._arrivals = Arrivals()
        self._reader = LogReader(readers, self._arrivals, now_ms)
        self._groups: dict[GroupKey, Group] = {}
        self._opening: dict[GroupKey, asyncio.Lock] = {}
        self._burying: set[asyncio.Task[None]] = set()

    def configure(self, settings: StreamSettings) -> None:
        self._settings = settings

    async def close(self) -> None:
        for group in self._groups.values():
            await group.close()
        await asyncio.gather(*self._burying, return_exceptions=True)

    # --- stream_basic -------------------------------------------------------------------------------------------------

    async def append(self, stream: str, records: Sequence[NewRecord], partition: int | None = None) -> Appended:
        size = sum(len(record.message.data) + RECORD_BYTES for record in records)
        results = await self._writer.submit(partial(
            log_rows.append, kind=KIND, name=stream, records=records, partition=partition,
            partitions=self._settings.partitions), size)
        self._arrivals.tell((stream,))
        offsets = [offset for offset, _ in results]
        return Appended(min(offsets), max(offsets))

    async def read(self, what: ReadFrom, sink: Sink[Record]) -> Active:
        parts = await self._parts(what.stream, missing=what.follow)
        if parts is not None:
            chosen = self._chosen(what, parts)
            return Reading(self._reader.records(what.stream, chosen, sink.missed, what.follow), sink)
        return Reading(self._when_made(what, sink), sink)

    async def latest_offset(self, stream: str, partition: int) -> int:
        parts = await self._readers.run(partial(log_rows.stream_parts, name=stream))
        part = log_rows.part_of(parts, stream, partition)
        return (await self._readers.run(partial(log_rows.ends, part=part)))[1]

    async def _parts(self, stream: str, *, missing: bool) -> list[log_rows.Part] | None:
        """None for an unknown stream, where `missing` is allowed; NOT_FOUND elsewhere."""
        try:
            return await self._readers.run(partial(log_rows.stream_parts, name=stream))
        except PrismError as error:
            if not missing or error.reason != "STREAM_NOT_FOUND":
                raise
            return None

    async def _when_made(self, what: ReadFrom, sink: Sink[Record]) -> AsyncGenerator[Record, None]:
        while True:
            arrival = self._arrivals.expect(what.stream)
            try:
                parts = await self._parts(what.stream, missing=True)
                if parts is not None:
                    break
                await arrival
            finally:
                self._arrivals.forget(what.stream, arrival)
        # it was empty when the read began, so that all of it came later
        chosen = [(part, max(what.offset, 0), until) for part, _, until in self._chosen(what, parts, made=True)]
        async for record in self._reader.records(what.stream, chosen, sink.missed):
            yield record

    @staticmethod
    def _chosen(
        what: ReadFrom, parts: Sequence[log_rows.Part], made: bool = False,
    ) -> list[tuple[log_rows.Part, int, int | None]]:
        """Partitions with the first and the last offset wanted."""
        if what.partition is not None:
            parts = [log_rows.part_of(parts, what.stream, what.partition)]
        chosen: list[tuple[log_rows.Part, int, int | None]] = []
        for part in parts:
            wanted = what.positions.get(part.number, what.offset)
            several = len(parts) > 1 and part.number not in what.positions
            start = 0 if made else min(wanted, part.next) if several and wanted > 0 else log_rows.start_of(
                part, what.stream, wanted)
            last = part.next - 1
            until = what.until if what.follow else last if what.until is None else min(what.until, last)
            if until is None or until >= start:
                chosen.append((part, start, until))
        return chosen

    # --- stream_consumer_groups ---------------------------------------------------------------------------------------

    async def create_group(self, stream: str, group: str, start_offset: int) -> None:
        def create(session: Session) -> None:
            log = log_rows.the_log(session, KIND, stream, self._settings.partitions)
            if log_rows.positions(session.connection, log.id, group):
                raise group_exists(stream, group)
            for part in log_rows.parts_of(session.connection, log.id):
                several = log.partitions > 1 and start_offset > 0
                start = min(start_offset, part.next) if several else log_rows.start_of(part, stream, start_offset)
                log_rows.set_position(session, log.id, group, part.number, Stored(start, start, ()))

        await self._writer.submit(create, RECORD_BYTES)
        self._arrivals.tell((stream,))

    async def join(self, member: Membership, sink: Sink[Record]) -> Active:
        return (await self._group(member.stream, member.group)).join(member, sink)

    async def ack(self, stream: str, group: str, partition: int, offsets: Sequence[int]) -> int:
        return await self._settle(stream, group, partition, offsets)

    async def nack(
        self, stream: str, group: str, partition: int, offsets: Sequence[int], delay_s: float, reason: str,
        *, final: bool = False,
    ) -> int:
        found = await self._group(stream, group)
        one = _partition_of(found, stream, partition)
        most = self._settings.max_deliveries
        last = [offset for offset in offsets
                if offset in one.open and (final or (most and one.open[offset].record.attempt >= most))]
        count = found.retry(partition, [offset for offset in offsets if offset not in set(last)], delay_s)
        if last:
            count += await self._settle(stream, group, partition, last, reason)
        return count

    async def group_info(self, stream: str, group: str) -> GroupInfo:
        found = await self._group(stream, group)
        behind = 0
        committed = {}
        parts = await self._readers.run(partial(log_rows.stream_parts, name=stream))
        for number, one in found.partitions.items():
            behind += len(one.backlog) + await self._readers.run(
                partial(log_rows.records_behind, part=parts[number], offset=one.fetched))
            position = one.position()
            if position.next > one.start:
                committed[number] = position.next - 1
        pending = sum(len(one.open) for one in found.partitions.values())
        return GroupInfo([member.membership.consumer_id for member in found.members], behind, pending, committed)

    async def _settle(
        self, stream: str, group: str, partition: int, offsets: Sequence[int], reason: str | None = None,
    ) -> int:
        """Settle what is open of these, and with a reason store them among the dead letters in the same transaction."""
        found = await self._group(stream, group)
        one = _partition_of(found, stream, partition)
        records = found.settle(partition, offsets)
        if not records:
            return 0
        try:
            await self._writer.submit(
                partial(self._store, stream=stream, group=group, partition=one, position=one.position(),
                        dead=records if reason is not None else (), reason=reason or ""),
                RECORD_BYTES + (sum(len(record.data) for record in records) if reason is not None else 0))
        except BaseException:
            found.reopen(partition, records)
            raise
        if reason is not None:
            self._arrivals.tell((stream + DEAD_LETTER_SUFFIX,))
        return len(records)

    def _store(
        self, session: Session, stream: str, group: str, partition: Partition, position: Stored,
        dead: Sequence[Record], reason: str,
    ) -> None:
        log = log_rows.find_log(session.connection, KIND, stream)
        if log is None:
            raise stream_not_found(stream)
        log_rows.set_position(session, log.id, group, partition.part.number, position)
        letters = [log_rows.dead_record(record, {
            **record.headers, SOURCE_HEADER: stream, ERROR_HEADER: reason, RETRIES_HEADER: str(record.attempt)},
            session.now_ms) for record in dead]
        if letters:
            log_rows.append(session, KIND, stream + DEAD_LETTER_SUFFIX, letters, partitions=1)

    def _bury(self, key: GroupKey, group: Group, partition: Partition, record: Record, reason: str) -> None:
        """Too many deliveries: the record is not open any more, and comes again only when this fails."""
        async def bury() -> None:
            if not group.settle(partition.part.number, (record.offset,)):
                return  # acknowledged at the last moment, or sought away from
            try:
                await self._writer.submit(
                    partial(self._store, stream=key[0], group=key[1], partition=partition,
                            position=partition.position(), dead=(record,), reason=reason),
                    RECORD_BYTES + len(record.data))
                self._arrivals.tell((key[0] + DEAD_LETTER_SUFFIX,))
            except (PrismError, sqlite3.Error):
                group.reopen(partition.part.number, (record,))

        task = asyncio.get_running_loop().create_task(bury())
        self._burying.add(task)
        task.add_done_callback(self._burying.discard)

    async def _group(self, stream: str, group: str) -> Group:
        """NOT_FOUND."""
        key = (stream, group)
        async with self._opening.setdefault(key, asyncio.Lock()):
            found = self._groups.get(key)
            if found is None:
                parts, stored = await self._readers.run(partial(_read_group, stream=stream, group=group))
                if not stored:
                    raise group_not_found(stream, group)
                found = self._groups[key] = Group(
                    stream,
                    [Partition(part, stored[part.number].start, stored[part.number].next,
                               set(stored[part.number].settled)) for part in parts if part.number in stored],
                    self._reader, partial(self._bury, key),
                    lambda: (self._settings.ack_timeout_s, self._settings.max_deliveries))
            return found

    # --- stream_replay ------------------------------------------------------------------------------------------------

    async def seek_offset(self, stream: str, group: str, partition: int, offset: int) -> int:
        found = await self._group(stream, group)
        _partition_of(found, stream, partition)
        parts = await self._readers.run(partial(log_rows.stream_parts, name=stream))
        part = parts[partition]
        if offset > part.next:
            raise offset_out_of_range(stream, offset, part.next)
        records, _, _ = await self._reader.page(part, offset, limit=1)
        to = records[0].offset if records else part.next
        await self._seek(found, stream, group, partition, to)
        return to

    async def seek_timestamp(self, stream: str, group: str, timestamp_ms: int) -> int:
        found = await self._group(stream, group)
        chosen = []
        for part in await self._readers.run(partial(log_rows.stream_parts, name=stream)):
            to = await self._readers.run(partial(log_rows.at_time, part=part, timestamp_ms=timestamp_ms))
            await self._seek(found, stream, group, part.number, to)
            chosen.append(to)
        return min(chosen)

    async def _seek(self, found: Group, stream: str, group: str, partition: int, offset: int) -> None:
        found.seek(partition, offset)
        one = found.partitions[partition]
        await self._writer.submit(
            partial(self._store, stream=stream, group=group, partition=one, position=Stored(offset, offset, ()),
                    dead=(), reason=""), RECORD_BYTES)

    # --- stream_retention, stream_partitioning ------------------------------------------------------------------------

    async def set_retention(self, stream: str, retention: Retention) -> None:
        await self._writer.submit(
            partial(log_rows.set_retention, name=stream, retention=retention, partitions=self._settings.partitions),
            RECORD_BYTES)
        await self.retain()

    async def get_retention(self, stream: str) -> Retention:
        log = await self._readers.run(partial(log_rows.find_log, kind=KIND, name=stream))
        if log is None:
            raise stream_not_found(stream)
        return log_rows.retention_of(log, self._default_retention)

    async def compact(self, stream: str, *, keep_latest_per_key: bool) -> int:
        removed = await self._writer.submit(
            partial(log_rows.retain, kind=KIND, defaults=self._default_retention), RECORD_BYTES, frees=True)
        for part in await self._readers.run(partial(log_rows.stream_parts, name=stream)):
            ids = await self._readers.run(partial(log_rows.superseded, part=part)) if keep_latest_per_key else []
            for index in range(0, len(ids), log_rows.SLICE):
                part_ids = ids[index:index + log_rows.SLICE]
                await self._writer.submit(partial(log_rows.drop, ids=part_ids), RECORD_BYTES, frees=True)
            removed += len(ids)
        return removed

    async def partitions(self, stream: str) -> Sequence[PartitionInfo]:
        return await self._readers.run(partial(log_rows.partitions, stream=stream))

    async def streams(self, limit: int) -> Sequence[str]:
        return await self._readers.run(partial(log_rows.log_names, kind="stream", limit=limit))

    async def describe(self, stream: str) -> StreamDetails:
        return StreamDetails(await self.partitions(stream),
                             await self._readers.run(partial(log_rows.group_names, stream=stream)))

    async def purge(self, stream: str) -> int:
        return await self._writer.submit(partial(log_rows.purge, stream=stream), RECORD_BYTES, frees=True)

    async def delete_group(self, stream: str, group: str) -> None:
        found = await self._group(stream, group)
        await self._writer.submit(
            partial(log_rows.forget_position, kind=KIND, log=stream, name=group), RECORD_BYTES, frees=True)
        del self._groups[stream, group]
        await found.close()

    async def keep_up(self) -> None:
        """Called every now and then."""
        if await self._readers.run(partial(
                log_rows.exceeds, kind=KIND, defaults=self._default_retention, now_ms=self._now_ms())):
            await self.retain()

    async def retain(self) -> None:
        """What is too old or too much becomes unseen."""
        await self._writer.submit(
            partial(log_rows.retain, kind=KIND, defaults=self._default_retention), RECORD_BYTES, frees=True,
            upkeep=True)

    @property
    def _default_retention(self) -> Retention:
        return Retention(self._settings.max_age_s, self._settings.max_bytes, self._settings.max_records)


def _partition_of(group: Group, stream: str, partition: int) -> Partition:
    log_rows.part_of([one.part for one in group.partitions.values()], stream, partition)
    return group.partitions[partition]


def _read_group(
    connection: sqlite3.Connection, stream: str, group: str,
) -> tuple[list[log_rows.Part], dict[int, Stored]]:
    log = log_rows.find_log(connection, KIND, stream)
    if log is None:
        raise group_not_found(stream, group)
    return log_rows.parts_of(connection, log.id), log_rows.positions(connection, log.id, group)
