"""Streams over JetStream: one stream there for each of ours, whose sequence numbers are the offsets.

A group is a consumer; its position is with the server. What one member has is known in its own process, so that
acknowledgements count exactly there, and about elsewhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prism_proxy.backends.nats import headers as wire
from prism_proxy.backends.nats import stream_records as records
from prism_proxy.backends.nats.errors import ApiError
from prism_proxy.backends.nats.jetstream import CONSUMER_EXISTS, CONSUMER_NAMED, CONSUMER_NOT_FOUND, JetStream, Stored
from prism_proxy.backends.nats.log_reader import LogReader
from prism_proxy.backends.nats.logs import NANO, Limits, Log, Logs, renewing
from prism_proxy.backends.nats.pull import Entry
from prism_proxy.backends.nats.stream_groups import Groups
from prism_proxy.backends.nats.stream_members import Member
from prism_proxy.models.messages import Carrier, DeliveryClass, Sink, Traits
from prism_proxy.models.messaging_errors import (
    group_exists,
    group_not_found,
    offset_out_of_range,
    partition_out_of_range,
    stream_not_found,
)
from prism_proxy.models.stream.contract import (
    LATEST,
    NONE,
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

KIND = "stream"
MOST_ATOMIC = 1000  # of a batch; a server takes no larger one
COMPACT_PAGE = 1000
_BOUNDS = frozenset({"age", "bytes", "records"})


class NatsStreams:
    def __init__(self, js: JetStream, logs: Logs, delivery: DeliveryClass) -> None:
        self.js = js
        self.logs = logs
        self.settings = StreamSettings()
        self._delivery = delivery
        self._groups = Groups(self)

    @property
    def traits(self) -> Traits:
        limit = self.js.client().max_payload if self._open else 0
        return Traits(Carrier.HEADERS, self._delivery, limit, retention=_BOUNDS)

    @property
    def _open(self) -> bool:
        return self.js.is_open

    def configure(self, settings: StreamSettings) -> None:
        self.settings = settings

    # --- stream_basic -------------------------------------------------------------------------------------------------

    @renewing
    async def append(self, stream: str, new: Sequence[NewRecord], partition: int | None = None) -> Appended:
        _one_partition(stream, partition)
        return await self._append(await self.made(stream), new)

    async def _append(self, log: Log, new: Sequence[NewRecord]) -> Appended:
        if log.atomic and 1 < len(new) <= MOST_ATOMIC:
            done = await self._append_atomically(log, new)
            if done is not None:
                return done
        found = await self.js.publish_all([(log.subject, records.headers_of(log, item), item.message.data)
                                           for item in new])
        stored = [item for item in found if isinstance(item, Stored)]
        failed = next((item for item in found if isinstance(item, Exception)), None)
        if failed is not None:
            raise failed
        return Appended(min(item.sequence for item in stored), max(item.sequence for item in stored))

    async def _append_atomically(self, log: Log, new: Sequence[NewRecord]) -> Appended | None:
        """All or none. None where the server will not have it in this way: one of them is a duplicate."""
        batch = uuid.uuid4().hex.encode()
        messages = [(log.subject, records.headers_of(
            log, item, (b"Nats-Batch-Id", batch), (b"Nats-Batch-Sequence", b"%d" % number),
            *(((b"Nats-Batch-Commit", b"1"),) if number == len(new) else ())), item.message.data)
            for number, item in enumerate(new, 1)]
        try:
            last = await self.js.publish_batch(messages)
        except ApiError as error:
            if error.code == 400:
                return None
            raise
        return Appended(last - len(new) + 1, last)

    @renewing
    async def read(self, what: ReadFrom, sink: Sink[Record]) -> LogReader:
        _one_partition(what.stream, what.partition)
        log = await self.found(what.stream)
        if log is None and not what.follow:
            raise stream_not_found(what.stream)
        start, until = what.positions.get(0, what.offset), what.until
        begin: int | dict[str, Any] = start
        if log is not None:
            end = int((await self.js.stream_info(log.stream))["state"]["last_seq"])
            if start > end + 1:
                raise offset_out_of_range(what.stream, start, end + 1)
            if start == LATEST:
                begin = end + 1
            if not what.follow:
                until = end if until is None else min(until, end)
        elif start == LATEST:
            begin = 0  # all of a stream that is not there yet is new
        reader = LogReader(self.js, lambda: self.found(what.stream), begin, RecordSink(sink), until,
                           follow=what.follow)
        if log is not None:
            await reader.opened()
        return reader

    @renewing
    async def latest_offset(self, stream: str, partition: int) -> int:
        _one_partition(stream, partition)
        state = (await self.js.stream_info((await self.existing(stream)).stream))["state"]
        return int(state["last_seq"]) if state["messages"] else NONE

    # --- stream_consumer_groups ---------------------------------------------------------------------------------------

    @renewing
    async def create_group(self, stream: str, group: str, start_offset: int) -> None:
        log = await self.made(stream)
        start: dict[str, Any] = {"deliver_policy": "new"} if start_offset == LATEST else _from(start_offset)
        try:
            await self._groups.make(log, group, start, "create")
        except ApiError as error:
            if error.number in (CONSUMER_EXISTS, CONSUMER_NAMED):
                raise group_exists(stream, group) from error
            raise

    async def join(self, member: Membership, sink: Sink[Record]) -> Member:
        log, info = await self._group(member.stream, member.group)
        if int(info["config"]["ack_wait"]) != int(self.settings.ack_timeout_s * NANO):
            await self._groups.update(log, member.group, info["config"])
        made = Member(self, self._groups, log, member, sink)
        await made.open()
        return made

    async def ack(self, stream: str, group: str, partition: int, offsets: Sequence[int]) -> int:
        _one_partition(stream, partition)
        log, info = await self._group(stream, group)
        return await self._groups.ack(log, group, info, offsets)

    async def nack(
        self, stream: str, group: str, partition: int, offsets: Sequence[int], delay_s: float, reason: str,
        *, final: bool = False,
    ) -> int:
        _one_partition(stream, partition)
        log, info = await self._group(stream, group)
        return await self._groups.nack(stream, log, group, info, offsets, delay_s, reason, final=final)

    async def group_info(self, stream: str, group: str) -> GroupInfo:
        log, info = await self._group(stream, group)
        floor = int(info["ack_floor"]["stream_seq"]) if info["ack_floor"]["consumer_seq"] else 0
        return GroupInfo(await self._groups.members(log, group), int(info["num_pending"]),
                         int(info["num_ack_pending"]), {0: floor} if floor else {})

    async def _group(self, stream: str, group: str) -> tuple[Log, dict[str, Any]]:
        """GROUP_NOT_FOUND."""
        log = await self.found(stream)
        if log is None:
            raise group_not_found(stream, group)
        try:
            return log, await self.js.consumer_info(log.stream, self.logs.names.consumer(group))
        except ApiError as error:
            if error.code != 404:
                raise
            if error.number != CONSUMER_NOT_FOUND:
                self.logs.forget(log)
            raise group_not_found(stream, group) from error

    # --- stream_replay ------------------------------------------------------------------------------------------------

    @renewing
    async def seek_offset(self, stream: str, group: str, partition: int, offset: int) -> int:
        _one_partition(stream, partition)
        log, _ = await self._group(stream, group)
        state = (await self.js.stream_info(log.stream))["state"]
        end = int(state["last_seq"]) + 1
        if offset > end:
            raise offset_out_of_range(stream, offset, end)
        await self._groups.seek(log, group, _from(offset))
        found = await self.js.message(log.stream, seq=max(1, offset), next_by_subj=log.subject.decode())
        return _sequence(found) if found is not None else end

    @renewing
    async def seek_timestamp(self, stream: str, group: str, timestamp_ms: int) -> int:
        log, _ = await self._group(stream, group)
        found = await self.js.message(log.stream, start_time=rfc3339(timestamp_ms), next_by_subj=log.subject.decode())
        offset = (_sequence(found) if found is not None
                  else int((await self.js.stream_info(log.stream))["state"]["last_seq"]) + 1)
        await self._groups.seek(log, group, _from(offset))
        return offset

    # --- stream_retention ---------------------------------------------------------------------------------------------

    @renewing
    async def set_retention(self, stream: str, retention: Retention) -> None:
        await self.logs.configure(await self.made(stream), Limits(*retention).config())

    @renewing
    async def get_retention(self, stream: str) -> Retention:
        config = await self.logs.config(await self.existing(stream))
        return Retention(int(config.get("max_age", 0)) / NANO, max(0, int(config.get("max_bytes", -1))),
                         max(0, int(config.get("max_msgs", -1))))

    @renewing
    async def compact(self, stream: str, *, keep_latest_per_key: bool) -> int:
        """The server removes what the retention does not keep by itself, at once."""
        log = await self.existing(stream)
        if not keep_latest_per_key:
            return 0
        newest: dict[bytes, int] = {}
        older: list[int] = []
        at = 1
        while True:
            last = 0
            async for headers, data in self.js.messages(
                    log.stream, COMPACT_PAGE, seq=at, next_by_subj=log.subject.decode()):
                last = _sequence((headers, data))
                key = records.made(last, headers, b"", 0).key
                if key:
                    if key in newest:
                        older.append(newest[key])
                    newest[key] = last
            if not last:
                break
            at = last + 1
        removed = 0
        for sequence in older:
            removed += await self.js.delete_message(log.stream, sequence)
        return removed

    # --- stream_operations --------------------------------------------------------------------------------------------

    async def streams(self, limit: int) -> Sequence[str]:
        return await self.logs.names_of(self.logs.names.stream("x")[:-1], limit)

    @renewing
    async def describe(self, stream: str) -> StreamDetails:
        log = await self.existing(stream)
        state = (await self.js.stream_info(log.stream))["state"]
        count = int(state["messages"])
        first, last = (int(state["first_seq"]), int(state["last_seq"])) if count else (NONE, NONE)
        return StreamDetails([PartitionInfo(0, first, last, count)], await self._groups.names(log))

    @renewing
    async def purge(self, stream: str) -> int:
        return await self.logs.purge(await self.existing(stream))

    @renewing
    async def delete_group(self, stream: str, group: str) -> None:
        log, _ = await self._group(stream, group)
        await self._groups.delete(log, group)

    # --- the streams of JetStream -------------------------------------------------------------------------------------

    async def made(self, stream: str) -> Log:
        settings = self.settings
        limits = Limits(settings.max_age_s, settings.max_bytes, settings.max_records)
        log = await self.logs.make(KIND, stream, self.logs.names.stream(stream), limits)
        if log is None:
            raise stream_not_found(stream)
        return log

    async def found(self, stream: str) -> Log | None:
        return await self.logs.find(KIND, stream, self.logs.names.stream(stream))

    async def existing(self, stream: str) -> Log:
        """STREAM_NOT_FOUND."""
        log = await self.found(stream)
        if log is None:
            raise stream_not_found(stream)
        return log


class RecordSink:
    """A sink of records, as a reader fills it."""

    def __init__(self, sink: Sink[Record]) -> None:
        self._sink = sink
        self.room = sink.room
        self.end = sink.end

    @property
    def credit(self) -> int:
        return self._sink.credit

    def push(self, entry: Entry) -> bool:
        return self._sink.push(records.record(entry))


def rfc3339(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sequence(found: tuple[bytes | None, bytes]) -> int:
    return int(wire.server_header(found[0], b"Nats-Sequence"))


def _from(offset: int) -> dict[str, Any]:
    if offset <= 1:
        return {"deliver_policy": "all"}
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": offset}


def _one_partition(stream: str, partition: int | None) -> None:
    if partition:
        raise partition_out_of_range(stream, partition, 1)
