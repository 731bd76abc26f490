"""The Stream interfaces as a driver implements them, in the object that it offers as `driver.stream`.

A stream is a log in one or more partitions. Offsets increase within a partition and need not be dense; they fit in 63
bits and are never negative. Names arrive validated. Methods raise the backend's own errors, or PrismError; those that
all drivers share are made in `models.messaging_errors`.

Groups. Each record is delivered to one member of a group until it is acknowledged: at least once. The position of a
group is per partition; what is acknowledged out of order stays open behind it only as a set of offsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from prism_proxy.models.messages import Active, Sink, StoredMessage, Traits

BASIC = "stream_basic"
GROUPS = "stream_consumer_groups"
REPLAY = "stream_replay"
RETENTION = "stream_retention"
PARTITIONING = "stream_partitioning"
OPERATIONS = "stream_operations"
ALL = frozenset({BASIC, GROUPS, REPLAY, RETENTION, PARTITIONING, OPERATIONS})

EARLIEST = 0  # as an offset to start at
LATEST = -1  # only what is appended later
NONE = -1  # as the offset of the newest record: there is none


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """The namespace's options a driver needs. `partitions` of a stream that is created by its first append;
    `max_deliveries` 0 = no bound. The retention is that of streams without one of their own; 0 = no bound."""

    partitions: int = 1
    ack_timeout_s: float = 30.0
    max_deliveries: int = 0
    max_age_s: float = 0.0
    max_bytes: int = 0
    max_records: int = 0


class NewRecord(NamedTuple):
    key: bytes
    message: StoredMessage


class Appended(NamedTuple):
    first: int
    last: int


@dataclass(slots=True)
class Record:
    """`message_id` is empty when only `data` tells. `attempt` counts deliveries to a group, from 1; 0 in a read."""

    offset: int
    partition: int
    key: bytes
    data: bytes
    headers: Mapping[str, str]
    timestamp_ms: int
    message_id: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """What to read. `offset` is the first one wanted, EARLIEST or LATEST; `positions` (partition -> next offset) wins
    for the partitions it names. `partition` None = all. `until` is the last one wanted, None = the end. Without
    `follow` the read ends at what was the end when it began."""

    stream: str
    offset: int = EARLIEST
    partition: int | None = None
    until: int | None = None
    follow: bool = False
    positions: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Membership:
    """`max_in_flight` bounds the records that this member has and has not acknowledged."""

    stream: str
    group: str
    consumer_id: str
    max_in_flight: int


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """`lag`: records behind the group's position, without those in progress. `pending`: delivered, not acknowledged.
    `committed`: partition -> last offset up to which all is acknowledged; partitions without any are absent."""

    members: Sequence[str]
    lag: int
    pending: int
    committed: Mapping[int, int]


class Retention(NamedTuple):
    """0 = no bound."""

    max_age_s: float
    max_bytes: int
    max_records: int


class PartitionInfo(NamedTuple):
    partition: int
    earliest: int
    latest: int
    records: int


class StreamDetails(NamedTuple):
    """`groups` by name."""

    partitions: Sequence[PartitionInfo]
    groups: Sequence[str]


class StreamBasic(Protocol):
    @property
    def traits(self) -> Traits:
        """`traits.delivery.order` is "per key" where partitions are declared."""
        ...

    def configure(self, settings: StreamSettings) -> None:
        """Called before the first call, and again when the options change."""
        ...

    async def append(self, stream: str, records: Sequence[NewRecord], partition: int | None = None) -> Appended:
        """Store all records, or none where they go to one partition; return when that is done as durably as `traits`
        says. Creates the stream. Without `partition`, equal keys go to one partition, records without key to any.
        `Appended` has the lowest and the highest offset given. OUT_OF_RANGE for a partition that is not there."""
        ...

    async def read(self, what: ReadFrom, sink: Sink[Record]) -> Active:
        """Push records in offset order per partition, never waiting for an idle partition; `sink.end(None)` when all
        was read. NOT_FOUND for an unknown stream unless `follow`, which waits for its creation. OUT_OF_RANGE for an
        offset beyond the end (the one behind the newest record is not beyond). Survives reconnects by itself."""
        ...

    async def latest_offset(self, stream: str, partition: int) -> int:
        """Of the newest record, NONE when there is none. NOT_FOUND, OUT_OF_RANGE."""
        ...


class StreamGroups(Protocol):
    async def create_group(self, stream: str, group: str, start_offset: int) -> None:
        """Its first record is `start_offset`, EARLIEST or LATEST. Creates the stream. ALREADY_EXISTS."""
        ...

    async def join(self, member: Membership, sink: Sink[Record]) -> Active:
        """Push records to this member, at most `max_in_flight` unacknowledged ones. NOT_FOUND for an unknown group.

        A record that was not acknowledged `ack_timeout_s` after its push is delivered again, to any member, with
        `attempt` one higher; those of a member whose `close` was called within 100 ms. When a record would be delivered
        more than `max_deliveries` times it is appended to `<stream>.dlq` with the dead letter headers, and settled.
        Where partitions are declared, a partition has one member at a time and no record is pushed while an earlier one
        of its key is open. A member of the same `consumer_id` replaces this one: SUBSCRIBER_REPLACED."""
        ...

    async def ack(self, stream: str, group: str, partition: int, offsets: Sequence[int]) -> int:
        """How many were open and are settled now. From anywhere. NOT_FOUND."""
        ...

    async def nack(
        self, stream: str, group: str, partition: int, offsets: Sequence[int], delay_s: float, reason: str,
        *, final: bool = False,
    ) -> int:
        """How many were open and will be delivered again after `delay_s`. `final`: they go to `<stream>.dlq` at
        once."""
        ...

    async def group_info(self, stream: str, group: str) -> GroupInfo: ...


class StreamReplay(Protocol):
    """ReplayRange is `read` with `until`."""

    async def seek_offset(self, stream: str, group: str, partition: int, offset: int) -> int:
        """The group's next record of the partition is the first one at or behind `offset`; open deliveries of the
        partition are forgotten. Returns that offset, or the one that the next append would get or exceed.
        OUT_OF_RANGE beyond the end."""
        ...

    async def seek_timestamp(self, stream: str, group: str, timestamp_ms: int) -> int:
        """In each partition, to the first record not older; returns the lowest of the offsets chosen."""
        ...


class StreamRetention(Protocol):
    """Kept at the backend, so that all proxies and later processes see it. Records that are too old or too many are
    unseen by readers within 1 s, and their memory or disk is given back in slices."""

    async def set_retention(self, stream: str, retention: Retention) -> None:
        """INVALID_ARGUMENT for a bound that is not in `traits.retention`. Creates the stream."""
        ...

    async def get_retention(self, stream: str) -> Retention: ...

    async def compact(self, stream: str, *, keep_latest_per_key: bool) -> int:
        """Remove what the retention does not keep, and with `keep_latest_per_key` all but the newest record of each
        non-empty key. Returns how many were removed. Offsets of the others stay."""
        ...


class StreamPartitioning(Protocol):
    async def partitions(self, stream: str) -> Sequence[PartitionInfo]:
        """Exact counts. NOT_FOUND."""
        ...


class StreamOperations(Protocol):
    async def streams(self, limit: int) -> Sequence[str]:
        """Names of streams, at most `limit`."""
        ...

    async def describe(self, stream: str) -> StreamDetails:
        """NOT_FOUND."""
        ...

    async def purge(self, stream: str) -> int:
        """Remove all records that are there; how many. Groups and offsets stay. NOT_FOUND."""
        ...

    async def delete_group(self, stream: str, group: str) -> None:
        """Forget a group that has no member. NOT_FOUND."""
        ...


class StreamDriver(
    StreamBasic, StreamGroups, StreamReplay, StreamRetention, StreamPartitioning, StreamOperations, Protocol,
):
    """All of them. A driver that declares fewer is never called for the others."""
