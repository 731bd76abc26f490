"""The SQLite store's ends of a move to another process. Expiries are wall time in milliseconds, here and there.

Which keys change is noted by temporary triggers of the writer's connection, within the transactions that change them:
what is rolled back leaves no note. A connection that breaks takes its notes along, and the move starts again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from prism_proxy._native.keyvalue.record_digest import hashes_of, sum_of
from prism_proxy.backends.sqlite.operations import Session
from prism_proxy.backends.sqlite.readers import Readers
from prism_proxy.backends.sqlite.rows import check_row, row_of
from prism_proxy.backends.sqlite.writer import Writer
from prism_proxy.contracts.movable import NEVER, Digest, Record, Span, TooManyChangesError

PAGE_RECORDS = 1000
PAGE_BYTES = 1024 * 1024
CHANGED_RECORDS = 4000  # told at once: each time waits for the writer
# no INSERT OR IGNORE: within a trigger the statement that fired it says what a conflict does
_NOTE = "BEGIN INSERT INTO changed SELECT {0}.key WHERE NOT EXISTS (SELECT 1 FROM changed WHERE key = {0}.key); END"
_WATCH = (
    "CREATE TEMP TABLE changed (key BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TRIGGER changed_new AFTER INSERT ON main.kv " + _NOTE.format("new"),
    "CREATE TEMP TRIGGER changed_now AFTER UPDATE ON main.kv " + _NOTE.format("new"),
    "CREATE TEMP TRIGGER changed_old AFTER DELETE ON main.kv " + _NOTE.format("old"),
)
_FORGET = ("DROP TRIGGER IF EXISTS temp.changed_new", "DROP TRIGGER IF EXISTS temp.changed_now",
           "DROP TRIGGER IF EXISTS temp.changed_old", "DROP TABLE IF EXISTS temp.changed")


class SqliteOutgoing:
    """Implements `contracts.movable.Outgoing`. `now_ms` is wall time in milliseconds."""

    def __init__(self, writer: Writer, readers: Readers, now_ms: Callable[[], int]) -> None:
        self._writer = writer
        self._readers = readers
        self._now_ms = now_ms
        self.clock = now_ms()

    async def begin(self) -> None:
        if not await self._writer.submit(_watch, 0):
            raise RuntimeError("a move of this store has begun already")

    async def page(self, after: bytes | None) -> tuple[Sequence[Record], bytes | None]:
        return await self._readers.run(partial(_page, span=Span(after), now_ms=self._now_ms()))

    async def changes(self) -> Sequence[Record]:
        return await _changes_of(self._writer)

    def horizon(self, seconds: float) -> int:
        return self._now_ms() + int(seconds * 1000)

    async def digest(self, span: Span, horizon: int) -> tuple[Digest, bytes | None]:
        return await self._readers.run(partial(_chunk, span=span, horizon=horizon, now_ms=self._now_ms()))

    async def hashes(self, span: Span, horizon: int) -> Mapping[bytes, int]:
        return await self._readers.run(partial(_hashes, span=span, horizon=horizon))

    async def digest_of(self, keys: Sequence[bytes], horizon: int) -> Digest:
        return await self._readers.run(partial(_digest_of, keys=keys, horizon=horizon))

    async def seal(self) -> None:
        self._writer.sealed = True
        await self._writer.drained()

    async def end(self) -> None:
        self._writer.sealed = False
        await self._writer.submit(_forget, 0, frees=True)


class SqliteIncoming:
    """Implements `contracts.movable.Incoming`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers
        self._watching = False

    async def begin(self) -> None:
        """Empty the file, a slice at a time."""
        while await self._writer.submit(_empty, PAGE_BYTES, frees=True):
            pass

    async def put(self, records: Sequence[Record]) -> None:
        await self._writer.submit(partial(_put, records=records), _size(records))

    async def put_proven(self, records: Sequence[Record], horizon: int) -> Digest:
        await self._writer.submit(partial(_put_noted, records=records), _size(records))
        return await self._readers.run(partial(_digest_of, keys=[key for key, _, _ in records], horizon=horizon))

    async def digest(self, span: Span, horizon: int) -> Digest:
        if not self._watching:
            await self._writer.submit(_watch, 0)
            self._watching = True
        return await self._readers.run(partial(_digest, span=span, horizon=horizon))

    async def hashes(self, span: Span, horizon: int) -> Mapping[bytes, int]:
        return await self._readers.run(partial(_hashes, span=span, horizon=horizon))

    async def unexpected_keys(self, horizon: int) -> tuple[Sequence[bytes], Digest]:
        keys = [key for key, _, _ in await _changes_of(self._writer)]
        return keys, await self._readers.run(partial(_digest_of, keys=keys, horizon=horizon))

    async def end(self) -> None:
        if self._watching and not self._writer.closed:
            await self._writer.submit(_forget, 0, frees=True)
        self._watching = False


async def _changes_of(writer: Writer) -> Sequence[Record]:
    found = await writer.submit(_changes, 0, upkeep=True)
    if found is None:
        raise TooManyChangesError("the file was opened again, and what changed before is not known")
    return found


def _size(records: Sequence[Record]) -> int:
    return sum(len(key) + len(value or b"") for key, value, _ in records)


def _watch(session: Session) -> bool:
    if _is_watched(session.connection):
        return False
    for statement in _WATCH:
        session.connection.execute(statement)
    return True


def _forget(session: Session) -> None:
    for statement in _FORGET:
        session.connection.execute(statement)


def _is_watched(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_temp_master WHERE name = 'changed'").fetchone() is not None


def _changes(session: Session) -> list[Record] | None:
    connection = session.connection
    if not _is_watched(connection):
        return None
    records: list[Record] = []
    size = 0
    for (key,) in connection.execute("SELECT key FROM changed LIMIT ?", (CHANGED_RECORDS,)).fetchall():
        row = row_of(connection, key)
        value, expires = (row.value, row.expires or NEVER) if row is not None and row.live(session.now_ms) else (
            None, NEVER)
        records.append((key, value, expires))
        size += len(key) + len(value or b"")
        if size > PAGE_BYTES:
            break
    _forget_keys(connection, records)
    return records


def _forget_keys(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    connection.executemany("DELETE FROM changed WHERE key = ?", [(key,) for key, _, _ in records])


def _rows(connection: sqlite3.Connection, span: Span, later: int, limit: int, more: str = "") -> sqlite3.Cursor:
    """Records of a span that never expire, or later, in order; all with the limit -1."""
    bounds = [(f" AND key {operator} ?", key) for operator, key in ((">", span.after), ("<=", span.until))
              if key is not None]
    return connection.execute(
        f"SELECT key, value, ifnull(expires, 0){more} FROM kv WHERE (expires IS NULL OR expires > ?)"
        f"{''.join(condition for condition, _ in bounds)} ORDER BY key LIMIT ?",
        (later, *(key for _, key in bounds), limit))


def _page(connection: sqlite3.Connection, span: Span, now_ms: int) -> tuple[list[Record], bytes | None]:
    """The first records of a span, and the last key of them, or that of the span where these were all. A damaged record
    is reported rather than moved."""
    rows = _rows(connection, span, now_ms, PAGE_RECORDS, ", version, sum")
    records: list[Record] = []
    size = 0
    try:
        for key, value, expires, version, stored in rows:
            check_row(key, value, version, None if expires == NEVER else expires, stored)
            records.append((key, value, expires))
            size += len(key) + len(value)
            if len(records) == PAGE_RECORDS or size > PAGE_BYTES:
                return records, key
        return records, span.until
    finally:
        rows.close()


def _chunk(connection: sqlite3.Connection, span: Span, horizon: int, now_ms: int) -> tuple[Digest, bytes | None]:
    records, until = _page(connection, span, now_ms)
    return Digest(*sum_of(records, horizon)), until


def _digest(connection: sqlite3.Connection, span: Span, horizon: int) -> Digest:
    return Digest(*sum_of(_rows(connection, span, horizon, -1), horizon))


def _hashes(connection: sqlite3.Connection, span: Span, horizon: int) -> dict[bytes, int]:
    return hashes_of(_rows(connection, span, horizon, -1), horizon)


def _digest_of(connection: sqlite3.Connection, keys: Sequence[bytes], horizon: int) -> Digest:
    return Digest(*sum_of((row for key in keys for row in connection.execute(
        "SELECT key, value, ifnull(expires, 0) FROM kv WHERE key = ?", (key,))), horizon))


def _put(session: Session, records: Sequence[Record]) -> None:
    for key, value, expires in records:
        if value is None:
            session.remove(key)
        else:
            session.put(key, value, None if expires == NEVER else expires)


def _put_noted(session: Session, records: Sequence[Record]) -> None:
    """As `_put`, and by that these keys have not changed."""
    _put(session, records)
    if _is_watched(session.connection):  # else what changed is lost, and callers that ask for it get an error
        _forget_keys(session.connection, records)


def _empty(session: Session) -> bool:
    """Delete some rows; whether any were left to delete."""
    gone = session.connection.execute("DELETE FROM kv WHERE id IN (SELECT id FROM kv LIMIT ?)", (PAGE_RECORDS,))
    return gone.rowcount > 0
