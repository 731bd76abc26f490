"""What reads do, on a reader's connection: each sees one state of the store."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

from prism_proxy.backends.sqlite.damage import Damage, shows_damage
from prism_proxy.backends.sqlite.errors import meaning
from prism_proxy.backends.sqlite.operations import find
from prism_proxy.backends.sqlite.rows import check_head, check_row, head_of
from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue.contract import check_batch_bytes

_LIVE = "(expires IS NULL OR expires > ?)"
PAGE_BYTES = 1024 * 1024  # of values in a page of a scan, so that large ones do not pile up


def get_all(
    connection: sqlite3.Connection, keys: Sequence[bytes], now_ms: int, damage: Damage
) -> list[bytes | PrismError | None]:
    """A damaged row costs its own key."""
    values: list[bytes | PrismError | None] = []
    size = 0
    connection.execute("BEGIN")
    try:
        for key in keys:
            found = _find_or_damage(connection, key, now_ms, damage)
            values.append(found)
            size += len(found) if isinstance(found, bytes) else 0
            check_batch_bytes(len(values), size)
        return values
    finally:
        connection.execute("ROLLBACK")


def _find_or_damage(
    connection: sqlite3.Connection, key: bytes, now_ms: int, damage: Damage
) -> bytes | PrismError | None:
    try:
        return find(connection, key, now_ms)[0]
    except (PrismError, sqlite3.DatabaseError) as error:
        lost = error if isinstance(error, PrismError) else meaning(error, "not_executed")
        if lost is None or not shows_damage(error):
            raise
        damage.met(error)
        return lost


def exists(connection: sqlite3.Connection, key: bytes, now_ms: int) -> bool:
    head = head_of(connection, key)
    return head is not None and head.live(now_ms)


def ttl(connection: sqlite3.Connection, key: bytes, now_ms: int) -> float | None:
    head = head_of(connection, key)
    if head is None or not head.live(now_ms):
        return None
    return math.inf if head.expires is None else (head.expires - now_ms) / 1000


def scan(
    connection: sqlite3.Connection, prefix: bytes, after: bytes | None, limit: int, values: bool, now_ms: int
) -> tuple[list[tuple[bytes, bytes | None]], bool]:
    """Up to `limit` items behind `after` in bytewise order, and whether that is all there is."""
    where, bounds = _range(prefix, after)
    rows = connection.execute(
        f"SELECT key, version, expires, sum, {'value' if values else 'NULL'} FROM kv WHERE {where} ORDER BY key",
        bounds)
    items: list[tuple[bytes, bytes | None]] = []
    size = 0
    try:
        for key, version, expires, stored, value in rows:
            if values:
                check_row(key, value, version, expires, stored)
            else:
                check_head(key, version, expires, stored)
            if expires is not None and expires <= now_ms:
                continue
            if len(items) == limit or size > PAGE_BYTES:
                return items, False
            items.append((key, value))
            size += len(key) + len(value or b"")
        return items, True
    finally:
        rows.close()


def count(connection: sqlite3.Connection, prefix: bytes, now_ms: int) -> int:
    """Of keys by the index; no row is checked for damage."""
    where, bounds = _range(prefix, None)
    row: tuple[int] = connection.execute(
        f"SELECT count(*) FROM kv WHERE {where} AND {_LIVE}", (*bounds, now_ms)).fetchone()
    return row[0]


def _range(prefix: bytes, after: bytes | None) -> tuple[str, tuple[bytes, ...]]:
    """Where keys with a prefix are, as a condition on the index: from the prefix to the first key beyond all of its."""
    where, bounds = "key >= ?", [prefix]
    if after is not None and after >= prefix:
        where, bounds = "key > ?", [after]
    stem = prefix.rstrip(b"\xff")
    if stem:
        where += " AND key < ?"
        bounds.append(stem[:-1] + bytes([stem[-1] + 1]))
    return where, tuple(bounds)
