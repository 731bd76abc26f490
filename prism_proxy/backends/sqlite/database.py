"""The file: its form, and how connections to it are made, by the one process that holds its lock (see `lock`)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.errors import cannot_open, closed
from prism_proxy.backends.sqlite.header import HEADER_BYTES, parse
from prism_proxy.backends.sqlite.headroom import Headroom
from prism_proxy.backends.sqlite.lock import FileLock
from prism_proxy.backends.sqlite.schema import header_damaged, prepare
from prism_proxy.errors import PrismError, StatusCode

PAGE_BYTES = 4096
MAX_PAGES = 2**30 - 1  # that any SQLite takes
# codes of SQLite for a header that it cannot read; ERROR is for a form that it does not know
_UNREADABLE = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR})


class Database:
    """`open_writer` comes first; it takes the lock, which `release` gives back."""

    def __init__(self, config: SqliteConfig) -> None:
        self._config = config
        self._lock = FileLock(Path(config.path))
        self._unreadable: PrismError | None = closed()  # why no reader may open the file
        self.headroom = Headroom(lambda: self.path, config.reserve_bytes)
        self.pages = max(config.max_bytes // PAGE_BYTES, 16) if config.max_bytes else MAX_PAGES

    @property
    def busy_timeout_ms(self) -> int:
        return int(self._config.busy_timeout_s * 1000)

    @property
    def path(self) -> Path:
        """The file's own name, once the lock is taken."""
        return self._lock.path

    def stored_bytes(self) -> int:
        """What the file and its log take; what room for deletions is kept beside them is not counted."""
        found = 0
        for name in (str(self.path), f"{self.path}-wal"):
            with contextlib.suppress(OSError):
                found += os.stat(name).st_size
        return found

    def open_writer(self) -> sqlite3.Connection:
        """The connection that writes; the file has its form afterwards.

        PrismError STORE_IN_USE, STORE_LINKED or STORE_FORMAT when the file is not for us, DATA_LOSS when it is damaged;
        OSError and sqlite3.Error when it cannot be reached now.
        """
        if self._lock.held:
            self._lock.check()
        else:
            self._take_lock()
        connection = self._connect("rwc")
        try:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("PRAGMA secure_delete=FAST")  # else a deletion writes every page that it frees
            connection.execute(f"PRAGMA synchronous={'FULL' if self._config.durability == 'synced' else 'NORMAL'}")
            connection.execute(f"PRAGMA max_page_count={self.pages}")
            prepare(connection, self.path)
        except sqlite3.Error as error:
            connection.close()
            self._unreadable = self._meaning(error)
            if self._unreadable is not None:
                raise self._unreadable from error
            raise
        except PrismError as error:
            connection.close()
            self._unreadable = error if error.code is StatusCode.DATA_LOSS else None
            raise
        except BaseException:
            connection.close()
            raise
        self._unreadable = None
        if self._lock.created:
            _sync_folder(self.path.parent)
        return connection

    def open_reader(self) -> sqlite3.Connection:
        """PrismError DATA_LOSS while what `open_writer` found is damaged, or why it could not take the lock: a reader
        of a file that another process may serve would also keep this process from the lock."""
        if self._unreadable is not None:
            raise replace(self._unreadable)
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

    def _take_lock(self) -> None:
        try:
            self._lock.take()
        except OSError as error:
            self._unreadable = cannot_open(error)
            raise
        except PrismError as error:
            self._unreadable = error
            raise

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False,
            timeout=self._config.busy_timeout_s, cached_statements=64)
        connection.text_factory = _text
        return connection

    def _meaning(self, error: sqlite3.Error) -> PrismError | None:
        """DATA_LOSS when the file's first bytes are the reason."""
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF not in _UNREADABLE:
            return None
        header = parse(os.pread(self._lock.descriptor, HEADER_BYTES, 0))
        if header is not None and header.of_no_database:
            return PrismError(
                StatusCode.DATA_LOSS, "STORE_CORRUPT", f"{self.path} is no SQLite database: check the path",
                {"outcome": "not_executed"})
        return header_damaged(self.path, str(error))


def _text(stored: bytes) -> str:
    """Damaged text is text still, so that it is judged with its row."""
    return stored.decode("utf-8", "surrogateescape")


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable; SQLite does so for its log, not for the database."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
