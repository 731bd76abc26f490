"""What writes do, inside the writer's transaction. Nothing here begins or ends one.

A key whose expiry has passed does not exist, whether or not it has been deleted yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from prism_proxy.models.keyvalue.contract import CasResult

FOREVER_MS = 2**62
_LIVE = "(expires IS NULL OR expires > ?)"


class Session:
    """An open transaction of the writer. `now_ms` is wall time, `version` the last one given out, `changes_before` the
    connection's count of changes at the start."""

    __slots__ = ("changes_before", "connection", "now_ms", "version")

    def __init__(self, connection: sqlite3.Connection, now_ms: int, version: int) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self.version = version
        self.changes_before = connection.total_changes

    def put(self, key: bytes, value: bytes, expires: int | None = None) -> None:
        self.version += 1
        self.connection.execute(
            "INSERT INTO kv (key, version, expires, value) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " version = excluded.version, expires = excluded.expires, value = excluded.value",
            (key, self.version, expires, value))

    def find(self, key: bytes) -> tuple[bytes | None, int]:
        """Value and version; (None, 0) when there is no such key."""
        return find(self.connection, key, self.now_ms)

    def remove(self, key: bytes) -> bool:
        gone = self.connection.execute("DELETE FROM kv WHERE key = ? RETURNING expires", (key,)).fetchall()
        return any(expires is None or expires > self.now_ms for (expires,) in gone)

    def deadline(self, ttl: float) -> int:
        """Wall time in milliseconds, at most what for ever is."""
        return int(min(self.now_ms + max(ttl * 1000, 1), FOREVER_MS))


def find(connection: sqlite3.Connection, key: bytes, now_ms: int) -> tuple[bytes | None, int]:
    row = connection.execute(f"SELECT value, version FROM kv WHERE key = ? AND {_LIVE}", (key, now_ms)).fetchone()
    return (None, 0) if row is None else row


def put(session: Session, key: bytes, value: bytes, ttl: float = 0) -> None:
    session.put(key, value, session.deadline(ttl) if ttl else None)


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
    changed = session.connection.execute(
        f"UPDATE kv SET expires = ? WHERE key = ? AND {_LIVE}", (session.deadline(ttl), key, session.now_ms))
    return changed.rowcount == 1


def persist(session: Session, key: bytes) -> bool:
    changed = session.connection.execute(
        "UPDATE kv SET expires = NULL WHERE key = ? AND expires > ?", (key, session.now_ms))
    return changed.rowcount == 1


def compare_and_swap(session: Session, key: bytes, expected: bytes | None, value: bytes) -> CasResult:
    actual, _ = session.find(key)
    if actual != expected:
        return CasResult(False, actual)
    session.put(key, value)
    return CasResult(True)


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


def sweep(session: Session, limit: int) -> int:
    """Delete up to `limit` keys whose expiry has passed; how many went."""
    gone = session.connection.execute(
        "DELETE FROM kv WHERE id IN (SELECT id FROM kv WHERE expires <= ? ORDER BY expires LIMIT ?)",
        (session.now_ms, limit))
    return gone.rowcount
