"""Streams over Redis streams: one partition, groups with redelivery, retention by age and number.

Each step is one script (`stream_scripts`). Who follows is woken by a channel, and looks now and then for what other
programs append without telling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prism_proxy._native.redis.resp import RespError
from prism_proxy.backends.redis import stream_scripts as scripts
from prism_proxy.backends.redis.commands import Commands, scanned
from prism_proxy.backends.redis.names import Names, glob
from prism_proxy.backends.redis.scripts import Script
from prism_proxy.backends.redis.status import message_class
from prism_proxy.backends.redis.stream_members import Member, Reader
from prism_proxy.backends.redis.stream_records import fields, id_of, offset_of, record
from prism_proxy.backends.redis.subscriptions import Subscriptions
from prism_proxy.models.messages import (
    DEAD_LETTER_SUFFIX,
    DEDUPLICATION_SECONDS,
    ERROR_HEADER,
    RETRIES_HEADER,
    SOURCE_HEADER,
    Carrier,
    Sink,
    StoredMessage,
    Traits,
)
from prism_proxy.models.messaging_errors import (
    group_exists,
    group_not_found,
    offset_out_of_range,
    partition_out_of_range,
    retention_not_supported,
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

_WINDOW_MS = b"%d" % int(DEDUPLICATION_SECONDS * 1000)
_RETENTION = frozenset({"age", "records"})
_COMPACTED = 500  # records looked at in one step


class RedisStreams:
    """`info` is what the server says of itself, `subscriptions` raises ConnectionLost while the driver is not open."""

    def __init__(self, commands: Commands, names: Names, info: Callable[[], Mapping[str, str]],
                 subscriptions: Callable[[], Subscriptions], wait_replicas: int = 0) -> None:
        self._commands = commands
        self._names = names
        self._info = info
        self._subscriptions = subscriptions
        self._replicas = wait_replicas
        self._settings = StreamSettings()

    @property
    def traits(self) -> Traits:
        return Traits(Carrier.HEADERS, message_class(self._info(), self._replicas), retention=_RETENTION)

    @property
    def settings(self) -> StreamSettings:
        return self._settings

    def configure(self, settings: StreamSettings) -> None:
        self._settings = settings

    # --- stream_basic -------------------------------------------------------------------------------------------------

    async def append(self, stream: str, records: Sequence[NewRecord], partition: int | None = None) -> Appended:
        _check_partition(stream, partition)
        arguments: list[bytes] = []
        once: list[bytes] = []
        for new in records:
            if new.message.deduplication_id:
                once.append(self._key(stream, "once:" + new.message.deduplication_id))
            pairs = fields(new)
            arguments += [b"%d" % (len(once) if new.message.deduplication_id else 0), b"%d" % len(pairs), *pairs]
        settings = self._settings
        ids = await self._step(
            scripts.APPEND, stream, _WINDOW_MS, b"%d" % int(settings.max_age_s * 1000), b"%d" % settings.max_records,
            *arguments, more=once, replicas=self._replicas)
        offsets = list(map(offset_of, ids))
        return Appended(min(offsets), max(offsets))

    async def read(self, what: ReadFrom, sink: Sink[Record]) -> Reader:
        _check_partition(what.stream, what.partition)
        there, last, _ = await self._step(scripts.LATEST, what.stream)
        if not there and not what.follow:
            raise stream_not_found(what.stream)
        end = offset_of(last)
        start = what.positions.get(0, end + 1 if what.offset == LATEST else what.offset)
        if start > end + 1 and what.positions.get(0) is None:
            raise offset_out_of_range(what.stream, start, end)
        until = what.until if what.follow else min(end, what.until if what.until is not None else end)
        return Reader(self, what.stream, start, until, what.follow, sink)

    async def latest_offset(self, stream: str, partition: int) -> int:
        _check_partition(stream, partition)
        there, _, newest = await self._step(scripts.LATEST, stream)
        if not there:
            raise stream_not_found(stream)
        return offset_of(newest) if newest else NONE

    async def range(self, stream: str, start: int, until: int | None, count: int) -> list[Record]:
        """Records from an offset on."""
        to = b"+" if until is None else id_of(until)
        _, _, found = await self._step(scripts.READ, stream, id_of(start), to, b"%d" % count)
        return [record(identity, pairs) for identity, pairs in found]

    # --- stream_consumer_groups ---------------------------------------------------------------------------------------

    async def create_group(self, stream: str, group: str, start_offset: int) -> None:
        behind = b"$" if start_offset == LATEST else id_of(start_offset - 1)
        try:
            await self._step(scripts.CREATE_GROUP, stream, group.encode(), behind)
        except RespError as error:
            if "BUSYGROUP" in str(error):
                raise group_exists(stream, group) from None
            raise

    async def join(self, member: Membership, sink: Sink[Record]) -> Member:
        await self.group_info(member.stream, member.group)
        joined = Member(self, member, sink)
        await joined.open()
        return joined

    async def ack(self, stream: str, group: str, partition: int, offsets: Sequence[int]) -> int:
        count: int = await self._of_group(scripts.ACK, stream, group, partition, *map(id_of, offsets))
        return count

    async def nack(
        self, stream: str, group: str, partition: int, offsets: Sequence[int], delay_s: float, reason: str,
        *, final: bool = False,
    ) -> int:
        most = 1 if final else self._settings.max_deliveries
        count, dead = await self._of_group(
            scripts.NACK, stream, group, partition, b"%d" % int(delay_s * 1000), reason.encode(), b"%d" % most,
            *map(id_of, offsets))
        await self.bury(stream, group, dead)
        return int(count)

    async def group_info(self, stream: str, group: str) -> GroupInfo:
        members, lag, pending, settled = await self._of_group(scripts.GROUP_INFO, stream, group, 0)
        committed = {0: offset_of(settled)} if settled else {}
        return GroupInfo([name.decode() for name in members], lag, pending, committed)

    async def fetch(self, member: Membership, count: int, *, look: bool) -> tuple[list[Record], int]:
        """Records for a member, and in how many milliseconds one is delivered again, -1 for none."""
        settings = self._settings
        found, dead, due_ms = await self._of_group(
            scripts.FETCH, member.stream, member.group, 0, member.consumer_id.encode(), b"%d" % count,
            b"%d" % int(settings.ack_timeout_s * 1000), b"%d" % settings.max_deliveries, b"%d" % look)
        await self.bury(member.stream, member.group, dead)
        return [record(identity, pairs, attempt) for identity, pairs, attempt in found], due_ms

    async def leave(self, member: Membership) -> None:
        await self._of_group(scripts.LEAVE, member.stream, member.group, 0, member.consumer_id.encode())

    async def bury(self, stream: str, group: str, dead: Sequence[Sequence[Any]]) -> None:
        """Bring records to the dead letters, and settle them: whoever meets them again finishes it."""
        for identity, pairs, deliveries, reason in dead:
            found = record(identity, pairs)
            headers = {**found.headers, SOURCE_HEADER: stream, ERROR_HEADER: reason.decode("utf-8", "replace"),
                       RETRIES_HEADER: str(deliveries)}
            message = StoredMessage(found.message_id, found.data, headers, found.timestamp_ms,
                                    deduplication_id=f"dead {stream} {group} {identity.decode()}")
            await self.append(stream + DEAD_LETTER_SUFFIX, [NewRecord(found.key, message)])
            await self._of_group(scripts.ACK, stream, group, 0, identity)

    # --- stream_replay ------------------------------------------------------------------------------------------------

    async def seek_offset(self, stream: str, group: str, partition: int, offset: int) -> int:
        there, last, _ = await self._step(scripts.LATEST, stream)
        if not there:
            raise stream_not_found(stream)
        end = offset_of(last)
        wanted = end + 1 if offset == LATEST else offset
        if wanted > end + 1:
            raise offset_out_of_range(stream, offset, end)
        first = await self._of_group(scripts.SEEK, stream, group, partition, id_of(wanted - 1), id_of(wanted))
        return offset_of(first) if first else end + 1

    async def seek_timestamp(self, stream: str, group: str, timestamp_ms: int) -> int:
        found = await self.range(stream, timestamp_ms << 20, None, 1)
        return await self.seek_offset(stream, group, 0, found[0].offset if found else LATEST)

    # --- stream_retention ---------------------------------------------------------------------------------------------

    async def set_retention(self, stream: str, retention: Retention) -> None:
        if retention.max_bytes:
            raise retention_not_supported("bytes", _RETENTION)
        await self._step(scripts.SET_RETENTION, stream, b"%d" % int(retention.max_age_s * 1000),
                         b"%d" % retention.max_records)

    async def get_retention(self, stream: str) -> Retention:
        there, _, age, most = await self._step(scripts.TRIM, stream)
        if not there:
            raise stream_not_found(stream)
        if not age:
            return Retention(self._settings.max_age_s, 0, self._settings.max_records)
        return Retention(int(age) / 1000, 0, int(most))

    async def compact(self, stream: str, *, keep_latest_per_key: bool) -> int:
        there, removed, _, _ = await self._step(scripts.TRIM, stream)
        if not there:
            raise stream_not_found(stream)
        newest: dict[bytes, int] = {}
        at, count = 0, int(removed)
        while keep_latest_per_key:
            found = await self.range(stream, at, None, _COMPACTED)
            if not found:
                break
            at = found[-1].offset + 1
            older = []
            for item in found:
                if item.key:
                    if item.key in newest:
                        older.append(newest[item.key])
                    newest[item.key] = item.offset
            if older:
                count += await self._step(scripts.REMOVE, stream, *map(id_of, older))
        return count

    # --- stream_operations --------------------------------------------------------------------------------------------

    async def streams(self, limit: int) -> Sequence[str]:
        """Those of other programs under the same names too."""
        found: set[str] = set()
        prefix = self._names.streams
        async for keys in scanned(self._commands, glob(prefix) + b"*", b"TYPE", b"stream"):
            found.update(map(self._names.stream_of, keys))
            if len(found) >= limit:
                break
        return sorted(found)[:limit]

    async def describe(self, stream: str) -> StreamDetails:
        there, records, oldest, newest, groups = await self._step(scripts.DESCRIBE, stream)
        if not there:
            raise stream_not_found(stream)
        earliest, latest = (offset_of(identity) if identity else NONE for identity in (oldest, newest))
        return StreamDetails([PartitionInfo(0, earliest, latest, records)],
                             [name.decode("utf-8", "replace") for name in groups])

    async def purge(self, stream: str) -> int:
        there, removed = await self._step(scripts.PURGE, stream)
        if not there:
            raise stream_not_found(stream)
        return int(removed)

    async def delete_group(self, stream: str, group: str) -> None:
        await self._of_group(scripts.DELETE_GROUP, stream, group, 0)

    # --- steps --------------------------------------------------------------------------------------------------------

    def channel(self, stream: str) -> bytes:
        """Who waits for a stream hears of it here."""
        return self._key(stream, "wake")

    def subscriptions(self) -> Subscriptions:
        return self._subscriptions()

    async def tell(self, stream: str, news: bytes) -> None:
        channel = self.channel(stream)
        await self._commands.execute(b"PUBLISH", channel, news, key=channel)

    def _key(self, stream: str, part: str) -> bytes:
        return b"{%b}:%b" % (self._names.stream(stream), part.encode())

    async def _of_group(self, script: Script, stream: str, group: str, partition: int, *arguments: bytes) -> Any:
        _check_partition(stream, partition)
        try:
            return await self._step(script, stream, group.encode(), *arguments, group=group)
        except RespError as error:
            if "NOGROUP" in str(error):
                raise group_not_found(stream, group) from None
            if "no such key" in str(error):
                raise stream_not_found(stream) from None
            raise

    async def _step(
        self, script: Script, stream: str, *arguments: bytes, group: str = "", more: Sequence[bytes] = (),
        replicas: int = 0,
    ) -> Any:
        keys = [self._names.stream(stream), self._key(stream, "meta"), self._key(stream, f"open:{group}"), *more]
        try:
            return await script.run(self._commands, b"", keys, self.channel(stream), *arguments, replicas=replicas)
        except RespError as error:
            if error.kind == "LAYOUT":
                raise ValueError(f"stream {stream!r} has a layout that this release does not know: {error}") from None
            raise


def _check_partition(stream: str, partition: int | None) -> None:
    if partition:
        raise partition_out_of_range(stream, partition, 1)
