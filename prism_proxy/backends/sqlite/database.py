"""The file: its lock, its form, and how connections to it are made.

One process at a time has a database, held by a lock on a file beside it. The lock is not on the database itself: POSIX
drops the locks of SQLite when any descriptor of the same file is closed in the process.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.errors import PrismError, StatusCode

PAGE_BYTES = 4096
FORMAT = 1  # PRAGMA user_version
_APPLICATION = 0x5052534D  # "PRSM", PRAGMA application_id
_SCHEMA = """
CREATE TABLE kv (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    expires INTEGER,
    value BLOB NOT NULL
);
CREATE INDEX kv_expires ON kv (expires) WHERE expires IS NOT NULL;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('version', 0);
"""


class Database:
    """`open_writer` comes first; it takes the lock, which `release` gives back."""

    def __init__(self, config: SqliteConfig) -> None:
        self.path = Path(config.path).absolute()
        self._config = config
        self._lock: int | None = None

    def open_writer(self) -> sqlite3.Connection:
        """The connection that writes; the file has its form afterwards.

        PrismError STORE_IN_USE or STORE_FORMAT when the file is not for us; OSError and sqlite3.Error when it cannot be
        reached now.
        """
        self._take_lock()
        fresh = not self.path.exists()
        connection = self._connect("rwc")
        try:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._config.durability == 'synced' else 'NORMAL'}")
            if self._config.max_bytes:
                connection.execute(f"PRAGMA max_page_count={max(self._config.max_bytes // PAGE_BYTES, 16)}")
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        if fresh:
            _sync_folder(self.path.parent)
        return connection

    def open_reader(self) -> sqlite3.Connection:
        connection = self._connect("rw")
        connection.execute("PRAGMA query_only=1")
        return connection

    def open_checkpointer(self) -> sqlite3.Connection:
        connection = self._connect("rw")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA synchronous={'FULL' if self._config.durability == 'synced' else 'NORMAL'}")
        return connection

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False,
            timeout=self._config.busy_timeout_s, cached_statements=64)

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d" % os.getpid(), 0)
        except BlockingIOError as error:
            owner = os.pread(lock, 20, 0).decode("ascii", "replace") or "unknown"
            os.close(lock)
            raise PrismError(
                StatusCode.FAILED_PRECONDITION, "STORE_IN_USE",
                f"{self.path} is in use by process {owner}: one process at a time can serve a SQLite file; stop it, or "
                "give this namespace another path", {"outcome": "not_executed"}) from error
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new file, or refuse one that is not ours."""
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (form, application) == (FORMAT, _APPLICATION):
            return
        if form or application or tables:
            raise PrismError(
                StatusCode.FAILED_PRECONDITION, "STORE_FORMAT",
                f"{self.path} holds another program's data, or a newer format ({form}, known is {FORMAT}): give this "
                "namespace another path, or update", {"outcome": "not_executed"})
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute("COMMIT")


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable; SQLite does so for its log, not for the database."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
