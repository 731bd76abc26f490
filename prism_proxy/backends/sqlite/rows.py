"""Rows of `kv` as they are read: what is not what was stored is DATA_LOSS, and never a value.

A row that a release without checksums wrote has none until it is written again; only its types are looked at.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from prism_proxy._native.sqlite.row_sum import head_holds, moved_sum, row_holds
from prism_proxy.errors import PrismError, StatusCode

DAMAGED = "ROW_DAMAGED"
SHOWN_BYTES = 200  # of a key in a message


class Row(NamedTuple):
    value: bytes
    version: int
    expires: int | None

    def live(self, now_ms: int) -> bool:
        return self.expires is None or self.expires > now_ms


class Head(NamedTuple):
    """All of a row but its value. `sum` is None for rows of releases without checksums."""

    version: int
    expires: int | None
    sum: int | None

    def live(self, now_ms: int) -> bool:
        return self.expires is None or self.expires > now_ms

    def with_expiry(self, key: bytes, expires: int | None) -> int | None:
        """The sum of the row once it expires then."""
        return None if self.sum is None else moved_sum(self.sum, key, self.version, expires)


def row_of(connection: sqlite3.Connection, key: bytes) -> Row | None:
    """Also one that has expired. PrismError DATA_LOSS names the key of a damaged one."""
    found = connection.execute("SELECT value, version, expires, sum FROM kv WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None
    value, version, expires, stored = found
    check_row(key, value, version, expires, stored)
    return Row(value, version, expires)


def head_of(connection: sqlite3.Connection, key: bytes) -> Head | None:
    """As `row_of`, without looking at the value."""
    found = connection.execute("SELECT version, expires, sum FROM kv WHERE key = ?", (key,)).fetchone()
    if found is None:
        return None
    head = Head(*found)
    check_head(key, *head)
    return head


def check_row(key: object, value: object, version: object, expires: object, stored: object) -> None:
    """PrismError DATA_LOSS unless this is what was stored."""
    if stored is None:
        check_types(key, version, expires)
        if not isinstance(value, bytes):
            raise damaged(key)
    elif not row_holds(stored, key, value, version, expires):
        raise damaged(key)


def check_head(key: object, version: object, expires: object, stored: object) -> None:
    if stored is None:
        check_types(key, version, expires)
    elif not head_holds(stored, key, version, expires):
        raise damaged(key)


def check_types(key: object, version: object, expires: object) -> None:
    if not (isinstance(key, bytes) and isinstance(version, int) and (expires is None or isinstance(expires, int))):
        raise damaged(key)


def damaged(key: object) -> PrismError:
    return PrismError(
        StatusCode.DATA_LOSS, DAMAGED,
        f"the stored row of key {shown(key)} is damaged: its checksum does not hold. Write or delete the key, or "
        "restore the file from a backup; prism-proxy verify FILE lists all damage", {"outcome": "not_executed"})


def shown(key: object) -> str:
    """A key, or what is left of it, in a message."""
    text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
    return repr(text if len(text) <= SHOWN_BYTES else f"{text[:SHOWN_BYTES]}…")
