"""The SQLite store's ends of a move to another process. Expiries are wall time in milliseconds, here and there.

Which keys change is noted by temporary triggers of the writer's connection, within the transactions that change them:
what is rolled back leaves no note. A connection that breaks takes its notes along, and the move starts again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial

from prism_proxy._native.record_digest import sum_of
from prism_proxy.backends.sqlite.operations import Session
from prism_proxy.backends.sqlite.readers import Readers
from prism_proxy.backends.sqlite.writer import Writer
from prism_proxy.contracts.movable import NEVER, Digest, Record, TooManyChangesError

PAGE_RECORDS = 1000
PAGE_BYTES = 1024 * 1024
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
        return await self._readers.run(partial(_page, after=after, now_ms=self._now_ms()))

    async def changes(self) -> Sequence[Record]:
        found = await self._writer.submit(_changes, 0, upkeep=True)
        if found is None:
            raise TooManyChangesError("the file was opened again, and what changed before is not known")
        return found

    def horizon(self, seconds: float) -> int:
        return self._now_ms() + int(seconds * 1000)

    async def digest(self, horizon: int) -> Digest:
        return await self._readers.run(partial(_digest, horizon=horizon))

    async def seal(self) -> None:
        self._writer.sealed = True
        await self._writer.drained()

    async def end(self) -> None:
        self._writer.sealed = False
        await self._writer.submit(_forget, 0)


class SqliteIncoming:
    """Implements `contracts.movable.Incoming`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def begin(self) -> None:
        """Empty the file, a slice at a time."""
        while await self._writer.submit(_empty, PAGE_BYTES):
            pass

    async def put(self, records: Sequence[Record]) -> None:
        size = sum(len(key) + len(value or b"") for key, value, _ in records)
        await self._writer.submit(partial(_put, records=records), size)

    async def digest(self, horizon: int) -> Digest:
        return await self._readers.run(partial(_digest, horizon=horizon))


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
    for (key,) in connection.execute("SELECT key FROM changed LIMIT ?", (PAGE_RECORDS,)).fetchall():
        row = connection.execute(
            "SELECT value, ifnull(expires, 0) FROM kv WHERE key = ? AND (expires IS NULL OR expires > ?)",
            (key, session.now_ms)).fetchone()
        value, expires = row or (None, NEVER)
        records.append((key, value, expires))
        size += len(key) + len(value or b"")
        if size > PAGE_BYTES:
            break
    connection.executemany("DELETE FROM changed WHERE key = ?", [(record[0],) for record in records])
    return records


def _page(connection: sqlite3.Connection, after: bytes | None, now_ms: int) -> tuple[list[Record], bytes | None]:
    rows = connection.execute(
        "SELECT key, value, ifnull(expires, 0) FROM kv WHERE key > ? AND (expires IS NULL OR expires > ?)"
        " ORDER BY key LIMIT ?", (after or b"", now_ms, PAGE_RECORDS))
    records: list[Record] = []
    size = 0
    try:
        for key, value, expires in rows:
            records.append((key, value, expires))
            size += len(key) + len(value)
            if len(records) == PAGE_RECORDS or size > PAGE_BYTES:
                return records, key
        return records, None
    finally:
        rows.close()


def _digest(connection: sqlite3.Connection, horizon: int) -> Digest:
    return Digest(*sum_of(connection.execute(
        "SELECT key, value, ifnull(expires, 0) FROM kv WHERE expires IS NULL OR expires > ?", (horizon,))))


def _put(session: Session, records: Sequence[Record]) -> None:
    for key, value, expires in records:
        if value is None:
            session.remove(key)
        else:
            session.put(key, value, None if expires == NEVER else expires)


def _empty(session: Session) -> bool:
    """Delete some rows; whether any were left to delete."""
    gone = session.connection.execute("DELETE FROM kv WHERE id IN (SELECT id FROM kv LIMIT ?)", (PAGE_RECORDS,))
    return gone.rowcount > 0
