"""The file: its form, and how connections to it are made, by the one process that holds its lock (see `lock`)."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.header import APPLICATION, FORMAT
from prism_proxy.backends.sqlite.lock import FileLock
from prism_proxy.errors import PrismError, StatusCode

PAGE_BYTES = 4096
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
        self._config = config
        self._lock = FileLock(Path(config.path))

    @property
    def path(self) -> Path:
        """The file's own name, once the lock is taken."""
        return self._lock.path

    def open_writer(self) -> sqlite3.Connection:
        """The connection that writes; the file has its form afterwards.

        PrismError STORE_IN_USE, STORE_LINKED or STORE_FORMAT when the file is not for us; OSError and sqlite3.Error
        when it cannot be reached now.
        """
        if self._lock.held:
            self._lock.check()
        else:
            self._lock.take()
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
        if self._lock.created:
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

    def check(self) -> None:
        """PrismError STORE_REPLACED when the path leads to another file, or to none."""
        self._lock.check()

    def release(self) -> None:
        """After the last connection has closed."""
        self._lock.release()

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False,
            timeout=self._config.busy_timeout_s, cached_statements=64)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new file, or refuse one that is not ours."""
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (form, application) == (FORMAT, APPLICATION):
            return
        if form or application or tables:
            raise PrismError(
                StatusCode.FAILED_PRECONDITION, "STORE_FORMAT",
                f"{self.path} holds another program's data, or a newer format ({form}, known is {FORMAT}): give this "
                "namespace another path, or update", {"outcome": "not_executed"})
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        connection.execute("COMMIT")


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable; SQLite does so for its log, not for the database."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
