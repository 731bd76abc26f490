"""What SQLite's errors mean to a caller, in one table.

`outcome` says whether a write may have happened: `unknown` when the failure was that of a COMMIT, whose record may
already be in the log and come back at the next start.
"""

from __future__ import annotations

import sqlite3
from typing import Literal, NamedTuple

from prism_proxy.errors import PrismError, StatusCode

Outcome = Literal["not_executed", "unknown"]
RETRY_AFTER_S = 0.5
CLOSED = "STORE_CLOSED"  # the reason for all that comes after `close`


class _Meaning(NamedTuple):
    code: StatusCode
    reason: str
    message: str
    transient: bool


_UNAVAILABLE = StatusCode.UNAVAILABLE
_MEANINGS = {
    sqlite3.SQLITE_FULL: _Meaning(
        StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL",
        "the store is full: free space on its disk, delete keys, or raise max_bytes", False),
    sqlite3.SQLITE_NOMEM: _Meaning(
        StatusCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "the process is out of memory", True),
    sqlite3.SQLITE_READONLY: _Meaning(
        _UNAVAILABLE, "STORE_READ_ONLY", "the store's file or disk is read-only: make it writable", True),
    sqlite3.SQLITE_PERM: _Meaning(
        _UNAVAILABLE, "STORE_READ_ONLY", "the store's file may not be written: check its permissions", True),
    sqlite3.SQLITE_CANTOPEN: _Meaning(
        _UNAVAILABLE, "STORE_CANNOT_OPEN", "the store's file cannot be opened: check path and permissions", True),
    sqlite3.SQLITE_IOERR: _Meaning(
        _UNAVAILABLE, "STORE_IO_ERROR", "the store's disk failed; the file is opened again", True),
    sqlite3.SQLITE_BUSY: _Meaning(
        _UNAVAILABLE, "STORE_BUSY", "another program holds the store's file for longer than busy_timeout_s", True),
    sqlite3.SQLITE_LOCKED: _Meaning(_UNAVAILABLE, "STORE_BUSY", "the store's file is locked", True),
    sqlite3.SQLITE_CORRUPT: _Meaning(
        StatusCode.DATA_LOSS, "STORE_CORRUPT", "the store's file is damaged: restore it from a backup", False),
    sqlite3.SQLITE_NOTADB: _Meaning(
        StatusCode.DATA_LOSS, "STORE_CORRUPT", "the store's file is not a SQLite database: check path", False),
    sqlite3.SQLITE_TOOBIG: _Meaning(
        StatusCode.INVALID_ARGUMENT, "VALUE_TOO_LARGE", "the value is larger than SQLite stores", False),
}
# after these a connection is not trusted again
_BREAKING = frozenset({
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB})


def _primary(error: Exception) -> int:
    """The code without what extended it; -1 for errors that are not SQLite's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & 0xFF


def breaks_connection(error: sqlite3.Error) -> bool:
    return _primary(error) in _BREAKING


def is_full(error: Exception) -> bool:
    return _primary(error) == sqlite3.SQLITE_FULL


def meaning(error: Exception, outcome: Outcome) -> PrismError | None:
    """The caller's error; None when the error shows a defect of ours. Its text never quotes a key or value."""
    found = _MEANINGS.get(_primary(error))
    if found is None:
        return None
    retry_after = RETRY_AFTER_S if found.transient and outcome == "not_executed" else None
    result = PrismError(
        found.code, found.reason, found.message,
        {"outcome": outcome, "sqlite_error": getattr(error, "sqlite_errorname", "")}, retry_after)
    result.__cause__ = error
    return result


def store_full() -> PrismError:
    found = _MEANINGS[sqlite3.SQLITE_FULL]
    return PrismError(found.code, found.reason, found.message, {"outcome": "not_executed"})


def cannot_open(error: Exception) -> PrismError:
    """For errors of the system rather than of SQLite: no such folder, no permission, a read-only disk."""
    text = getattr(error, "strerror", None) or type(error).__name__
    return PrismError(
        _UNAVAILABLE, "STORE_CANNOT_OPEN", f"the store's file cannot be opened ({text}): check path and permissions",
        {"outcome": "not_executed"}, RETRY_AFTER_S)


def overloaded(waiting: int, what: str) -> PrismError:
    return PrismError(
        StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", f"{waiting} {what} wait for this store's disk: slow down",
        {"outcome": "not_executed"}, 0.1)


def closed() -> PrismError:
    return PrismError(_UNAVAILABLE, CLOSED, "the store is closed", {"outcome": "not_executed"}, RETRY_AFTER_S)
