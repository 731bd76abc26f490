"""The meaning of the Stream methods, over a slot filled by any driver.

Callers have checked that the namespace offers the interface of the method. The `caller` of a method is the context of
its gRPC call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from prism_proxy._native.envelope.codec import new_message_id
from prism_proxy.contracts.driver import Health, HealthReport
from prism_proxy.errors import invalid
from prism_proxy.models import names
from prism_proxy.models.assertion import MISMATCH
from prism_proxy.models.depths import MAX_NAMES, Depths
from prism_proxy.models.framing import NOBODY, Framing, Opened, Origin, Rejected
from prism_proxy.models.messages import MAX_BATCH, described
from prism_proxy.models.messaging_errors import group_has_members, subscriber_replaced
from prism_proxy.models.passing import Receipts
from prism_proxy.models.publishing import Publishing
from prism_proxy.models.resume import position_in
from prism_proxy.models.stream import operations
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
    StreamDriver,
)
from prism_proxy.models.stream.options import StreamOptions
from prism_proxy.models.stream.reading import KIND, OpenRead, ReadOptions, positions_from_bytes
from prism_proxy.slots.composition import Part, Surroundings
from prism_proxy.slots.slot import Slot
from prism_proxy.telemetry.metrics import Metric, Sample

DEFAULT_IN_FLIGHT, MAX_IN_FLIGHT = 100, 10_000
MAX_FOLLOWED = 10_000  # records; what is older is collected when its time is over
MAX_KEY_BYTES = 64 * 1024
MAX_OFFSET = 2**63 - 1


class WantedRecord(NamedTuple):
    key: bytes
    value: bytes
    headers: Mapping[str, str]


class _State:
    """What outlives a configuration change: the open memberships by (stream, group, consumer), and the counts."""

    def __init__(self) -> None:
        self.members: dict[tuple[str, str, str], OpenRead] = {}
        self.tokens: dict[tuple[str, int, int], str] = {}  # of records that a step follows, until they are acknowledged
        self.appended = self.delivered = self.redelivered = self.acknowledged = self.expired = 0


    def follow(self, place: tuple[str, int, int], seen: Opened) -> None:
        """A record of the only group is with a member, which acknowledges it here or elsewhere."""
        if seen.followed is not None:
            self.tokens.pop(next(iter(self.tokens)) if len(self.tokens) >= MAX_FOLLOWED else place, "")
            self.tokens[place] = seen.followed.token


class StreamModel(Part):
    """One per namespace and configuration."""

    def __init__(self, slot: Slot[Any], options: StreamOptions, surroundings: Surroundings = Surroundings(),
                 previous: StreamModel | None = None) -> None:
        self._slot = slot
        self._driver: StreamDriver = slot.driver.stream
        self._driver.configure(options.settings())
        self._options = options
        self._namespace = surroundings.namespace
        self._chain = surroundings.chain
        self._state: _State = previous._state if previous is not None else _State()
        self._framing = Framing(surroundings, self._driver.traits, kept=True)
        self._receipts: Receipts = Receipts(self._framing, surroundings.namespace, "stream",
                                  previous._receipts if previous is not None else None)
        self._groups: Depths[tuple[str, str], GroupInfo] = Depths(
            lambda name: slot.call(operations.GROUP_INFO, None, self._driver.group_info, *name))

    @property
    def native(self) -> bool:
        """Whether native handlers may serve in its place."""
        return self._framing.plain

    # --- append -------------------------------------------------------------------------------------------------------

    async def append(
        self, stream: str, records: Sequence[WantedRecord], caller: Any = None, partition: int | None = None,
        origin: Origin = NOBODY,
    ) -> Appended:
        names.topic(stream, "stream")
        if not 1 <= len(records) <= MAX_BATCH:
            raise invalid("records", f"an append has 1 to {MAX_BATCH} records, this one {len(records)}")
        operation = operations.APPEND if partition is None else operations.APPEND_TO_PARTITION
        async with Publishing(self._framing) as publishing:
            made = [await self._made(publishing, stream, record, origin) for record in records]
            moved = [record for record in made if record.message.moved_to]
            if moved:  # by a check, to the dead letters
                await self._slot.call(
                    operations.APPEND, caller, self._driver.append, moved[0].message.moved_to, moved, None)
            rest = [record for record in made if not record.message.moved_to]
            done = Appended(-1, -1)  # what is among the dead letters has no offset here
            if rest:
                done = await self._slot.call(operation, caller, self._driver.append, stream, rest, partition)
            heard = await publishing.stored([record.message.message_id for record in made])
        for error in filter(None, heard):
            raise error
        self._state.appended += len(made)
        return done

    async def _made(self, publishing: Publishing, stream: str, record: WantedRecord, origin: Origin) -> NewRecord:
        if len(record.key) > MAX_KEY_BYTES:
            raise invalid("records", f"the key of a record has at most {MAX_KEY_BYTES} bytes, not {len(record.key)}")
        return NewRecord(record.key, await publishing.frame(stream, record.value, record.headers, origin))

    # --- read ---------------------------------------------------------------------------------------------------------

    async def read(
        self, stream: str, offset: int, limit: int, options: Mapping[str, str], caller: Any = None, *,
        partition: int | None = None, follow: bool = False,
    ) -> OpenRead:
        names.topic(stream, "stream")
        _check_offset(offset, "offset", LATEST)
        if limit < 0:
            raise invalid("limit", "limit is not negative; 0 reads all", value=str(limit))
        found = ReadOptions.parse(options, self._options.buffer_bytes)
        resumed = position_in(caller, KIND)
        positions = positions_from_bytes(resumed) if resumed is not None else {}
        return await self._open_read(
            ReadFrom(stream, offset, partition, None, follow, positions), found, limit, operations.READ, caller)

    async def replay(
        self, stream: str, first: int, last: int, caller: Any = None, *, partition: int | None = None
    ) -> OpenRead:
        names.topic(stream, "stream")
        _check_offset(first, "from_offset")
        _check_offset(last, "to_offset")
        resumed = position_in(caller, KIND)
        positions = positions_from_bytes(resumed) if resumed is not None else {}
        what = ReadFrom(stream, first, partition, last, False, positions)
        options = ReadOptions.parse({}, self._options.buffer_bytes)
        return await self._open_read(what, options, 0, operations.REPLAY_RANGE, caller)

    async def _open_read(
        self, what: ReadFrom, options: ReadOptions, limit: int, operation: Any, caller: Any
    ) -> OpenRead:
        if what.partition is not None and what.partition < 0:
            raise invalid("partition", "partition is not negative", value=str(what.partition))
        opened = self._opened(what.stream, options, limit, resumable=True)
        opened.positions = dict(what.positions)
        opened.active = await self._slot.stream(operation, caller, self._driver.read, what, opened.buffer)
        return opened

    def _opened(self, stream: str, options: ReadOptions, limit: int, *, resumable: bool) -> OpenRead:
        if options.schema is not None:
            options.schema.check_open(self._chain, self._namespace)

        async def open_record(record: Record) -> Opened | None:
            try:
                opened = self._framing.open(
                    stream, record.data, record.headers, record.message_id, record.timestamp_ms)
            except Rejected as rejected:
                self._receipts.reject(stream, rejected.reason)
                raise
            if opened is None:
                self._state.expired += 1
                return None
            if opened.passing is not None and await self._receipts.passed(opened, options.inline_bytes) is None:
                raise Rejected("a step of the namespace rejected it")
            if options.schema is not None and not options.schema.accepts(
                    opened.metadata, self._chain, self._namespace):
                self._receipts.reject(stream, MISMATCH)
                await self._framing.dying(opened)
                raise Rejected(MISMATCH)
            if self._framing.followed and 0 < self._options.max_deliveries <= record.attempt:
                await self._framing.dying(opened)
            self._state.delivered += 1
            self._state.redelivered += record.attempt > 1
            return opened

        return OpenRead(options, limit, open_record, resumable=resumable)

    async def latest_offset(self, stream: str, partition: int, caller: Any = None) -> int:
        names.topic(stream, "stream")
        return await self._slot.call(
            operations.LATEST_OFFSET, caller, self._driver.latest_offset, stream, _partition(partition))

    async def partitions(self, stream: str, caller: Any = None) -> Sequence[PartitionInfo]:
        names.topic(stream, "stream")
        return await self._slot.call(operations.PARTITIONS, caller, self._driver.partitions, stream)

    # --- consumer groups ----------------------------------------------------------------------------------------------

    async def create_group(self, stream: str, group: str, start_offset: int, caller: Any = None) -> None:
        _check_group(stream, group)
        _check_offset(start_offset, "start_offset", LATEST)
        await self._slot.call(
            operations.CREATE_GROUP, caller, self._driver.create_group, stream, group, start_offset)

    async def join(
        self, stream: str, group: str, consumer_id: str, max_in_flight: int, options: Mapping[str, str],
        caller: Any = None,
    ) -> tuple[OpenRead, str]:
        """The membership, and the consumer's id."""
        _check_group(stream, group)
        if not 0 <= max_in_flight <= MAX_IN_FLIGHT:
            raise invalid("max_in_flight", f"max_in_flight is 0 to {MAX_IN_FLIGHT}", value=str(max_in_flight))
        self._groups.use((stream, group))
        found = ReadOptions.parse(options, self._options.buffer_bytes)
        consumer = names.identity(consumer_id, "consumer_id") or new_message_id()
        opened = self._opened(stream, found, 0, resumable=False)  # the group knows where it is
        driver = self._driver
        if group == self._framing.chain.only_group:
            opened.on_record = lambda record, seen: self._state.follow((stream, record.partition, record.offset), seen)
        opened.skip = lambda record: self._slot.call(
            operations.ACK, None, driver.ack, stream, group, record.partition, [record.offset])
        opened.reject = lambda record, reason: self._slot.call(
            operations.NACK, None, driver.nack, stream, group, record.partition, [record.offset], 0.0, reason,
            final=True)
        name = (stream, group, consumer)
        earlier = self._state.members.pop(name, None)
        if earlier is not None:
            earlier.buffer.end(subscriber_replaced(consumer))
            await earlier.close()
        membership = Membership(stream, group, consumer, max_in_flight or DEFAULT_IN_FLIGHT)
        opened.active = await self._slot.stream(operations.JOIN, caller, driver.join, membership, opened.buffer)
        self._state.members[name] = opened
        opened.on_close = lambda: self._left(name, opened)
        return opened, consumer

    def _left(self, name: tuple[str, str, str], opened: OpenRead) -> None:
        if self._state.members.get(name) is opened:
            del self._state.members[name]

    async def ack(self, stream: str, group: str, partition: int, offsets: Sequence[int], caller: Any = None) -> int:
        _check_group(stream, group)
        _check_count(offsets)
        done = await self._slot.call(
            operations.ACK, caller, self._driver.ack, stream, group, _partition(partition), list(offsets))
        self._groups.use((stream, group))
        self._state.acknowledged += done
        if group == self._framing.chain.only_group:
            for offset in offsets:
                token = self._state.tokens.pop((stream, partition, offset), "")
                await self._framing.settled(stream, token)
        return done

    async def nack(
        self, stream: str, group: str, partition: int, offsets: Sequence[int], delay_ms: int, reason: str,
        caller: Any = None,
    ) -> int:
        _check_group(stream, group)
        _check_count(offsets)
        if not 0 <= delay_ms <= 12 * 3_600_000:
            raise invalid("delay_ms", "delay_ms is 0 to 12 hours", value=str(delay_ms))
        return await self._slot.call(operations.NACK, caller, self._driver.nack, stream, group, _partition(partition),
                                     list(offsets), delay_ms / 1000, reason[:1024])

    async def group_info(self, stream: str, group: str, caller: Any = None) -> GroupInfo:
        _check_group(stream, group)
        return await self._slot.call(operations.GROUP_INFO, caller, self._driver.group_info, stream, group)

    # --- seek and retention -------------------------------------------------------------------------------------------

    async def seek_offset(self, stream: str, group: str, partition: int, offset: int, caller: Any = None) -> int:
        _check_group(stream, group)
        _check_offset(offset, "offset", LATEST)
        return await self._slot.call(
            operations.SEEK_OFFSET, caller, self._driver.seek_offset, stream, group, _partition(partition), offset)

    async def seek_timestamp(self, stream: str, group: str, timestamp_ms: int, caller: Any = None) -> int:
        _check_group(stream, group)
        _check_offset(timestamp_ms, "timestamp")
        return await self._slot.call(
            operations.SEEK_TIMESTAMP, caller, self._driver.seek_timestamp, stream, group, timestamp_ms)

    async def set_retention(
        self, stream: str, max_age_s: int, max_bytes: int, max_records: int, caller: Any = None
    ) -> None:
        names.topic(stream, "stream")
        for field, value in (("max_age_seconds", max_age_s), ("max_bytes", max_bytes), ("max_records", max_records)):
            if value < 0:
                raise invalid(field, f"{field} is not negative; 0 has no bound", value=str(value))
        await self._slot.call(operations.SET_RETENTION, caller, self._driver.set_retention, stream,
                              Retention(float(max_age_s), max_bytes, max_records))

    async def get_retention(self, stream: str, caller: Any = None) -> Retention:
        names.topic(stream, "stream")
        return await self._slot.call(operations.GET_RETENTION, caller, self._driver.get_retention, stream)

    async def compact(self, stream: str, caller: Any = None, *, keep_latest_per_key: bool) -> int:
        names.topic(stream, "stream")
        return await self._slot.call(
            operations.COMPACT, caller, self._driver.compact, stream, keep_latest_per_key=keep_latest_per_key)

    # --- operators ----------------------------------------------------------------------------------------------------

    async def streams(self, limit: int, caller: Any = None) -> list[str]:
        """By name."""
        if not 0 <= limit <= MAX_NAMES:
            raise invalid("limit", f"limit is from 0, which reads as {MAX_NAMES}, to {MAX_NAMES}", value=str(limit))
        return sorted(await self._slot.call(
            operations.LIST_STREAMS, caller, self._driver.streams, limit or MAX_NAMES))

    async def describe(self, stream: str, caller: Any = None) -> tuple[StreamDetails, list[tuple[str, GroupInfo]]]:
        names.topic(stream, "stream")
        details = await self._slot.call(operations.DESCRIBE, caller, self._driver.describe, stream)
        return details, [(group, await self._slot.call(
            operations.GROUP_INFO, caller, self._driver.group_info, stream, group)) for group in sorted(details.groups)]

    async def purge(self, stream: str, caller: Any = None) -> int:
        """How many records were removed."""
        names.topic(stream, "stream")
        return await self._slot.call(operations.PURGE, caller, self._driver.purge, stream)

    async def delete_group(self, stream: str, group: str, caller: Any = None) -> None:
        """Its position is forgotten. A group that has members is refused: they would go on with nothing behind them."""
        _check_group(stream, group)
        info: GroupInfo = await self._slot.call(operations.GROUP_INFO, caller, self._driver.group_info, stream, group)
        if info.members:
            raise group_has_members(stream, group, len(info.members))
        await self._slot.call(operations.DELETE_GROUP, caller, self._driver.delete_group, stream, group)

    @property
    def reader_metadata(self) -> tuple[tuple[str, str], ...]:
        """As `Framing.reader_metadata`."""
        return self._framing.reader_metadata

    def health(self) -> HealthReport:
        """What callers may rely on; degraded while a step of the namespace has not what it needs."""
        paused, traits = self._receipts.paused, self._driver.traits
        details = described("stream", traits.delivery)
        return HealthReport(Health.DEGRADED if paused else Health.HEALTHY, paused, details)

    async def close(self) -> None:
        await self._groups.close()

    def metrics(self) -> Iterable[Metric]:
        label, state = (("namespace", self._namespace),), self._state
        yield Metric("prism_stream_members", "gauge", "Open memberships of consumer groups.",
                     [Sample(label, float(len(state.members)))])
        yield self._receipts.metrics()
        groups = [((*label, ("stream", stream), ("group", group)), info)
                  for (stream, group), info in self._groups.latest().items()]
        # Workers ask one backend, so what they know is one figure, not a sum.
        yield Metric("prism_stream_group_lag", "gauge", "Records behind the position of a group.",
                     [Sample(labels, float(info.lag)) for labels, info in groups], "max")
        yield Metric("prism_stream_group_pending", "gauge", "Records delivered to a group and not acknowledged.",
                     [Sample(labels, float(info.pending)) for labels, info in groups], "max")
        for name, text, count in (
            ("appended", "Records that the backend stored.", state.appended),
            ("delivered", "Records handed to readers and members, each delivery counted.", state.delivered),
            ("redelivered", "Deliveries to a group after the first.", state.redelivered),
            ("acknowledged", "Records that members have done.", state.acknowledged),
            ("expired", "Records that expired before they were delivered.", state.expired),
        ):
            yield Metric(f"prism_stream_{name}_total", "counter", text, [Sample(label, float(count))])


def _check_group(stream: str, group: str) -> None:
    names.topic(stream, "stream")
    names.topic(group, "group")


def _check_offset(value: int, field: str, least: int = 0) -> None:
    if not least <= value <= MAX_OFFSET:
        raise invalid(field, f"{field} is at least {least}", value=str(value))


def _check_count(offsets: Sequence[int]) -> None:
    if len(offsets) > MAX_BATCH:
        raise invalid("offsets", f"at most {MAX_BATCH} offsets in one call, this one has {len(offsets)}")


def _partition(value: int) -> int:
    if value < 0:
        raise invalid("partition", "partition is not negative", value=str(value))
    return value
