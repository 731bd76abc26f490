"""Logs, of streams and of topics, as rows: what they do within the writer's transaction, and what readers see of them.

A record's row id is its partition's id and its offset, so that a log is read in the order of the file. What a retention
drops is unseen from the moment that the partition's `first` moves, and is deleted in slices later.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from prism_proxy._native.sqlite.row_sum import crc32c
from prism_proxy.backends.sqlite.messaging.content import (
    content_holds,
    content_sum,
    first_of,
    headers_from_bytes,
    headers_to_bytes,
    remember,
)
from prism_proxy.backends.sqlite.operations import Session
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.messaging_errors import offset_out_of_range, partition_out_of_range, stream_not_found
from prism_proxy.models.stream.contract import LATEST, NONE, NewRecord, PartitionInfo, Record, Retention

Kind = Literal["stream", "topic"]
OFFSET_BITS = 40
LAST_OFFSET = 2**OFFSET_BITS - 1
PAGE_RECORDS = 500
PAGE_BYTES = 1024 * 1024
SLICE = 1000  # records deleted in one transaction
# whether `drop_unseen` has anything to do, at any time
UNSEEN = (f"SELECT 1 FROM part WHERE ? AND first > 0 AND EXISTS (SELECT 1 FROM record WHERE record.id >= part.id <<"
          f" {OFFSET_BITS} AND record.id < (part.id << {OFFSET_BITS}) + part.first) LIMIT 1")


class Log(NamedTuple):
    """A bound that is None is that of the namespace."""

    id: int
    name: str
    partitions: int
    max_age_ms: int | None
    max_bytes: int | None
    max_records: int | None


class Part(NamedTuple):
    """A partition: `first` is the lowest offset to be seen, `next` the one that the next record gets."""

    id: int
    number: int
    first: int
    next: int
    records: int
    bytes: int

    @property
    def base(self) -> int:
        return self.id << OFFSET_BITS


class Stored(NamedTuple):
    """A group's position, or a durable subscription's: all before `next` is settled, and `settled` of what follows."""

    start: int
    next: int
    settled: tuple[int, ...]


def find_log(connection: sqlite3.Connection, kind: Kind, name: str) -> Log | None:
    row = connection.execute(
        "SELECT id, name, partitions, max_age_ms, max_bytes, max_records FROM log WHERE kind = ? AND name = ?",
        (kind, name)).fetchone()
    return None if row is None else Log(*row)


def the_log(session: Session, kind: Kind, name: str, partitions: int = 1) -> Log:
    """Made when it is not there."""
    found = find_log(session.connection, kind, name)
    if found is not None:
        return found
    made = session.connection.execute(
        "INSERT INTO log (kind, name, partitions) VALUES (?, ?, ?)", (kind, name, partitions)).lastrowid or 0
    session.connection.executemany(
        "INSERT INTO part (log, number, first, next, records, bytes) VALUES (?, ?, 0, 0, 0, 0)",
        [(made, number) for number in range(partitions)])
    return Log(made, name, partitions, None, None, None)


def parts_of(connection: sqlite3.Connection, log: int) -> list[Part]:
    return [Part(*row) for row in connection.execute(
        "SELECT id, number, first, next, records, bytes FROM part WHERE log = ? ORDER BY number", (log,))]


def stream_parts(connection: sqlite3.Connection, name: str) -> list[Part]:
    """NOT_FOUND."""
    log = find_log(connection, "stream", name)
    if log is None:
        raise stream_not_found(name)
    return parts_of(connection, log.id)


def part_of(parts: Sequence[Part], stream: str, number: int) -> Part:
    if not 0 <= number < len(parts):
        raise partition_out_of_range(stream, number, len(parts))
    return parts[number]


# --- writing --------------------------------------------------------------------------------------------------------


def append(
    session: Session, kind: Kind, name: str, records: Sequence[NewRecord], partition: int | None = None,
    partitions: int = 1,
) -> list[tuple[int, str]]:
    """The offset of each record and its message id, those of the first one for a duplicate."""
    parts = parts_of(session.connection, the_log(session, kind, name, partitions).id)
    if partition is not None:
        part_of(parts, name, partition)
    place = f"{kind} {name}"
    any_part = session.version % len(parts)
    following = {part.number: part.next for part in parts}
    sizes = dict.fromkeys(following, 0)
    rows: list[tuple[Any, ...]] = []
    results = []
    for key, message in records:
        first = first_of(session, place, message)
        if first is not None:
            found, _, message_id = first.partition(":")
            results.append((int(found), message_id))
            continue
        number = partition if partition is not None else crc32c(key) % len(parts) if key else any_part
        offset = following[number]
        following[number] += 1
        headers = headers_to_bytes(message.headers)
        sizes[number] += len(key) + len(headers) + len(message.data)
        rows.append((parts[number].base + offset, message.published_ms, message.expires_ms, message.message_id, key,
                     headers, _sum(key, headers, message), message.data))
        results.append((offset, message.message_id))
        if message.deduplication_id:
            remember(session, place, _with_id(message, f"{offset}:{message.message_id}"))
    session.connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    for part in parts:
        count = following[part.number] - part.next
        if count:
            session.connection.execute(
                "UPDATE part SET next = ?, records = records + ?, bytes = bytes + ? WHERE id = ?",
                (following[part.number], count, sizes[part.number], part.id))
    session.version += 1
    return results


def set_retention(session: Session, name: str, retention: Retention, partitions: int) -> None:
    log = the_log(session, "stream", name, partitions)
    session.connection.execute(
        "UPDATE log SET max_age_ms = ?, max_bytes = ?, max_records = ? WHERE id = ?",
        (int(retention.max_age_s * 1000), retention.max_bytes, retention.max_records, log.id))


def retain(session: Session, kind: Kind, defaults: Retention) -> int:
    """Move `first` of each partition behind what its log does not keep; how many records became unseen."""
    connection = session.connection
    unseen = 0
    for log in connection.execute(
            "SELECT id, name, partitions, max_age_ms, max_bytes, max_records FROM log WHERE kind = ?", (kind,)):
        found = Log(*log)
        bounds = retention_of(found, defaults)
        if any(bounds):
            for part in parts_of(connection, found.id):
                unseen += _retain_part(session, part, bounds)
    return unseen


def _retain_part(session: Session, part: Part, bounds: Retention) -> int:
    oldest = session.now_ms - int(bounds.max_age_s * 1000) if bounds.max_age_s else 0
    surplus = part.records - bounds.max_records if bounds.max_records else 0
    excess = part.bytes - bounds.max_bytes if bounds.max_bytes else 0
    rows = session.connection.execute(
        "SELECT id, published, length(key) + length(headers) + length(data) FROM record WHERE id >= ? AND id < ?"
        " ORDER BY id", (part.base + part.first, part.base + part.next))
    gone = size = 0
    first = part.first
    for row, published, length in rows:
        if not (published < oldest or gone < surplus or size < excess):
            break
        gone, size, first = gone + 1, size + length, row - part.base + 1
    rows.close()
    if gone:
        session.connection.execute("UPDATE part SET first = ?, records = records - ?, bytes = bytes - ? WHERE id = ?",
                                   (first, gone, size, part.id))
    return gone


def drop_unseen(session: Session) -> int:
    """Delete a slice of what no reader sees; how many records went."""
    gone = 0
    for base, first in session.connection.execute(f"SELECT id << {OFFSET_BITS}, first FROM part WHERE first > 0"):
        gone += session.connection.execute(
            "DELETE FROM record WHERE id IN (SELECT id FROM record WHERE id >= ? AND id < ? LIMIT ?)",
            (base, base + first, SLICE - gone)).rowcount
        if gone >= SLICE:
            break
    return gone


def drop_expired_records(session: Session) -> int:
    """A slice of the records whose time to live is over."""
    found = session.connection.execute(
        "SELECT id FROM record WHERE expires > 0 AND expires <= ? LIMIT ?", (session.now_ms, SLICE)).fetchall()
    drop(session, [row for (row,) in found])
    return len(found)


def exceeds(connection: sqlite3.Connection, kind: Kind, defaults: Retention, now_ms: int) -> bool:
    """Whether `retain` has anything to do."""
    for log in connection.execute(
            "SELECT id, name, partitions, max_age_ms, max_bytes, max_records FROM log WHERE kind = ?", (kind,)):
        found = Log(*log)
        bounds = retention_of(found, defaults)
        for part in parts_of(connection, found.id) if any(bounds) else ():
            if (bounds.max_records and part.records > bounds.max_records) or (
                    bounds.max_bytes and part.bytes > bounds.max_bytes):
                return True
            if bounds.max_age_s:
                oldest = connection.execute(
                    "SELECT published FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
                    (part.base + part.first, part.base + part.next)).fetchone()
                if oldest is not None and oldest[0] < now_ms - int(bounds.max_age_s * 1000):
                    return True
    return False


def drop(session: Session, ids: Sequence[int]) -> None:
    """Records that a compaction removes, a slice of one partition."""
    for row in ids:
        found = session.connection.execute(
            "DELETE FROM record WHERE id = ? RETURNING length(key) + length(headers) + length(data)", (row,)).fetchall()
        for (size,) in found:
            session.connection.execute("UPDATE part SET records = records - 1, bytes = bytes - ? WHERE id = ?",
                                       (size, row >> OFFSET_BITS))


def set_position(session: Session, log: int, name: str, number: int, position: Stored) -> None:
    session.connection.execute(
        "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?)",
        (log, name, number, position.next, json.dumps([position.start, *position.settled]).encode()))


def forget_position(session: Session, kind: Kind, log: str, name: str) -> None:
    """Of a group or a durable subscription, which is unknown afterwards."""
    session.connection.execute(
        "DELETE FROM position WHERE name = ? AND log = (SELECT id FROM log WHERE kind = ? AND name = ?)",
        (name, kind, log))


# --- reading --------------------------------------------------------------------------------------------------------


def positions(connection: sqlite3.Connection, log: int, name: str) -> dict[int, Stored]:
    """By partition; empty where there is no such group or durable subscription."""
    found = {}
    for number, following, settled in connection.execute(
            "SELECT number, next, settled FROM position WHERE log = ? AND name = ?", (log, name)):
        start, *offsets = json.loads(settled)
        found[number] = Stored(start, following, tuple(offsets))
    return found


def page(
    connection: sqlite3.Connection, part: Part, offset: int, until: int, limit: int, now_ms: int,
) -> tuple[list[Record], int, int]:
    """Records from `offset` on, up to `until`; the offset behind what was looked at; how many of them were damaged."""
    row = connection.execute("SELECT first FROM part WHERE id = ?", (part.id,)).fetchone()
    start = max(offset, row[0] if row else 0)
    rows = connection.execute(
        "SELECT id, published, expires, message_id, key, headers, sum, data FROM record WHERE id >= ? AND id <= ?"
        " ORDER BY id", (part.base + start, part.base + min(until, LAST_OFFSET)))
    records: list[Record] = []
    size = damaged = 0
    following = start
    for number, published, expires, message_id, key, headers, stored, data in rows:
        following = number - part.base + 1
        if not content_holds(stored, key + headers, data, published, expires):
            damaged += 1
        elif not 0 < expires <= now_ms:
            records.append(Record(following - 1, part.number, key, data, headers_from_bytes(headers), published,
                                  message_id))
            size += len(data)
        if len(records) >= limit or size >= PAGE_BYTES:
            break
    rows.close()
    return records, following, damaged


def ends(connection: sqlite3.Connection, part: Part) -> tuple[int, int]:
    """The offsets of the oldest and the newest record; NONE without any."""
    row = connection.execute("SELECT min(id), max(id) FROM record WHERE id >= ? AND id < ?",
                             (part.base + part.first, part.base + part.next)).fetchone()
    return (NONE, NONE) if row[0] is None else (row[0] - part.base, row[1] - part.base)


def partitions(connection: sqlite3.Connection, stream: str) -> list[PartitionInfo]:
    return [PartitionInfo(part.number, *ends(connection, part), part.records)
            for part in stream_parts(connection, stream)]


def log_names(connection: sqlite3.Connection, kind: Kind, limit: int) -> list[str]:
    return [name for (name,) in connection.execute(
        "SELECT name FROM log WHERE kind = ? ORDER BY name LIMIT ?", (kind, limit))]


def group_names(connection: sqlite3.Connection, stream: str) -> list[str]:
    return [name for (name,) in connection.execute(
        "SELECT DISTINCT position.name FROM position JOIN log ON log.id = position.log"
        " WHERE log.kind = 'stream' AND log.name = ?", (stream,))]


def purge(session: Session, stream: str) -> int:
    return purge_parts(session, stream_parts(session.connection, stream))


def purge_parts(session: Session, parts: Sequence[Part]) -> int:
    """No reader sees what is there; slices of it are deleted later (`drop_unseen`)."""
    for part in parts:
        session.connection.execute("UPDATE part SET first = next, records = 0, bytes = 0 WHERE id = ?", (part.id,))
    return sum(part.records for part in parts)


def records_behind(connection: sqlite3.Connection, part: Part, offset: int) -> int:
    row: tuple[int] = connection.execute("SELECT count(*) FROM record WHERE id >= ? AND id < ?", (
        part.base + max(offset, part.first), part.base + part.next)).fetchone()
    return row[0]


def at_time(connection: sqlite3.Connection, part: Part, timestamp_ms: int) -> int:
    """The offset of the first record not older; that of the next one where all are."""
    row = connection.execute(
        "SELECT id FROM record WHERE id >= ? AND id < ? AND published >= ? ORDER BY id LIMIT 1",
        (part.base + part.first, part.base + part.next, timestamp_ms)).fetchone()
    return part.next if row is None else row[0] - part.base


def find_message(connection: sqlite3.Connection, part: Part, message_id: str) -> int | None:
    """Its offset."""
    row = connection.execute("SELECT id FROM record WHERE message_id = ? AND id >= ? AND id < ?", (
        message_id, part.base + part.first, part.base + part.next)).fetchone()
    return None if row is None else row[0] - part.base


def superseded(connection: sqlite3.Connection, part: Part) -> list[int]:
    """The rows of records that a newer one of the same key stands behind."""
    bounds = (part.base + part.first, part.base + part.next)
    return [row for (row,) in connection.execute(
        "SELECT id FROM record WHERE id >= ? AND id < ? AND length(key) > 0 AND id NOT IN"
        " (SELECT max(id) FROM record WHERE id >= ? AND id < ? GROUP BY key)", (*bounds, *bounds))]


def retention_of(log: Log | None, defaults: Retention) -> Retention:
    if log is None or log.max_age_ms is None:
        return defaults
    return Retention(log.max_age_ms / 1000, log.max_bytes or 0, log.max_records or 0)


def start_of(part: Part, stream: str, offset: int) -> int:
    """Where a read or a group begins that asks for `offset`. OUT_OF_RANGE."""
    if offset == LATEST:
        return part.next
    if offset > part.next:
        raise offset_out_of_range(stream, offset, part.next)
    return offset


def _sum(key: bytes, headers: bytes, message: StoredMessage) -> int:
    return content_sum(key + headers, message.data, message.published_ms, message.expires_ms)


def _with_id(message: StoredMessage, text: str) -> StoredMessage:
    return StoredMessage(text, b"", {}, 0, 0, message.deduplication_id)


def dead_record(record: Record, headers: Mapping[str, str], now_ms: int) -> NewRecord:
    """As it goes to the dead letters."""
    return NewRecord(record.key, StoredMessage(record.message_id, record.data, headers, record.timestamp_ms or now_ms))


