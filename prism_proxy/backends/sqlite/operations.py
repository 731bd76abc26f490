"""What writes do, inside the writer's transaction. Nothing here begins or ends one.

A key whose expiry has passed does not exist, whether or not it has been deleted yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from prism_proxy._native.sqlite.row_sum import head_holds, row_sum
from prism_proxy.backends.sqlite.rows import Head, head_of, row_of
from prism_proxy.models.keyvalue.contract import CasResult

FOREVER_MS = 2**62
KEPT_ROWS = 10_000  # damaged rows that a sweep passes over


class Session:
    """An open transaction of the writer. `now_ms` is wall time, `version` the last one given out, `changes_before` the
    connection's count of changes at the start."""

    __slots__ = ("changes_before", "connection", "damaged", "now_ms", "version")

    def __init__(self, connection: sqlite3.Connection, now_ms: int, version: int) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self.version = version
        self.changes_before = connection.total_changes
        self.damaged: list[str] = []  # what was met and set aside

    def put(self, key: bytes, value: bytes, expires: int | None = None) -> None:
        self.version += 1
        self.connection.execute(
            "INSERT INTO kv (key, version, expires, sum, value) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " version = excluded.version, expires = excluded.expires, sum = excluded.sum, value = excluded.value",
            (key, self.version, expires, row_sum(key, value, self.version, expires), value))

    def find(self, key: bytes) -> tuple[bytes | None, int]:
        """Value and version; (None, 0) when there is no such key."""
        return find(self.connection, key, self.now_ms)

    def remove(self, key: bytes) -> bool:
        gone = self.connection.execute("DELETE FROM kv WHERE key = ? RETURNING expires", (key,)).fetchall()
        return any(expires is None or expires > self.now_ms for (expires,) in gone)

    def set_expiry(self, key: bytes, expires: int | None) -> Head | None:
        """What the row was; None when there is no such key."""
        head = head_of(self.connection, key)
        if head is None or not head.live(self.now_ms):
            return None
        if head.expires != expires:
            self.connection.execute(
                "UPDATE kv SET expires = ?, sum = ? WHERE key = ?", (expires, head.with_expiry(key, expires), key))
        return head

    def deadline(self, ttl: float) -> int:
        """Wall time in milliseconds, at most what for ever is."""
        return int(min(self.now_ms + max(ttl * 1000, 1), FOREVER_MS))


def find(connection: sqlite3.Connection, key: bytes, now_ms: int) -> tuple[bytes | None, int]:
    row = row_of(connection, key)
    return (None, 0) if row is None or not row.live(now_ms) else (row.value, row.version)


def put(session: Session, key: bytes, value: bytes) -> None:
    session.put(key, value)


def put_all(session: Session, items: Iterable[tuple[bytes, bytes]]) -> None:
    for key, value in items:
        session.put(key, value)


def remove(session: Session, key: bytes) -> bool:
    return session.remove(key)


def remove_all(session: Session, keys: Sequence[bytes]) -> list[bool]:
    return [session.remove(key) for key in keys]


def expire(session: Session, key: bytes, ttl: float) -> bool:
    if not ttl:
        return session.remove(key)
    return session.set_expiry(key, session.deadline(ttl)) is not None


def persist(session: Session, key: bytes) -> bool:
    before = session.set_expiry(key, None)
    return before is not None and before.expires is not None


def compare_and_swap(session: Session, key: bytes, expected: bytes | None, value: bytes) -> CasResult:
    actual, _ = session.find(key)
    if actual != expected:
        return CasResult(False, actual)
    session.put(key, value)
    return CasResult(True)


def replace(session: Session, key: bytes, expected: bytes, value: bytes) -> bool:
    """As `compare_and_swap`, and the key keeps its expiry."""
    row = row_of(session.connection, key)
    if row is None or not row.live(session.now_ms) or row.value != expected:
        return False
    session.put(key, value, row.expires)
    return True


def compare_and_delete(session: Session, key: bytes, expected: bytes) -> CasResult:
    actual, _ = session.find(key)
    if actual != expected:
        return CasResult(False, actual)
    session.remove(key)
    return CasResult(True)


def commit(session: Session, reads: Mapping[bytes, int], writes: Mapping[bytes, bytes]) -> bool:
    if any(session.find(key)[1] != version for key, version in reads.items()):
        return False
    put_all(session, writes.items())
    return True


def sweep(session: Session, limit: int, damaged: set[int]) -> int:
    """Delete up to `limit` keys whose expiry has passed; how many went. A row that is not what was stored stays, for
    its expiry may be the damage; `damaged` remembers the ids of these."""
    connection = session.connection
    found = connection.execute(
        "SELECT id, key, version, expires, sum FROM kv WHERE expires <= ? ORDER BY expires LIMIT ?",
        (session.now_ms, limit + len(damaged))).fetchall()
    due = []
    for row, key, version, expires, stored in found:
        if stored is None or head_holds(stored, key, version, expires):
            due.append((row,))
        elif len(damaged) < KEPT_ROWS:
            damaged.add(row)
    connection.executemany("DELETE FROM kv WHERE id = ?", due)
    return len(due)
