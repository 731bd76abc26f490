"""The writer's connection: transactions of many requests, upkeep, and what happens when the disk fails.

Runs on the writer's thread only, and knows no loop. A failed COMMIT fails every request in it and is not tried again:
after a failed sync the kernel may have dropped what it could not write, so that a second one proves nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from prism_proxy.backends.sqlite.checkpointer import Checkpointer
from prism_proxy.backends.sqlite.damage import Damage
from prism_proxy.backends.sqlite.database import PAGE_BYTES, Database
from prism_proxy.backends.sqlite.errors import (
    RETRY_AFTER_S,
    Outcome,
    breaks_connection,
    cannot_open,
    closed,
    is_full,
    meaning,
)
from prism_proxy.backends.sqlite.operations import Session, sweep
from prism_proxy.backends.sqlite.outage import Outage
from prism_proxy.backends.sqlite.schema import keep_version, stored_version
from prism_proxy.errors import PrismError, StatusCode

ResultT = TypeVar("ResultT")
Operation = Callable[[Session], ResultT]
SWEEP_SECONDS = 1.0
SWEEP_KEYS = 500
CHECKPOINT_BYTES = 4 * 1024 * 1024  # written since the last checkpoint
LOG_BYTES = 64 * 1024 * 1024  # beyond this the writer itself catches up, which lets it start the log over
# what a defect of an operation may raise; it fails its own request only
_DEFECTS = (TypeError, ValueError, OverflowError, MemoryError, PrismError)


class Request(Protocol):
    """A write to be done; `size` is about how many bytes it writes."""

    @property
    def operation(self) -> Operation[Any]: ...

    @property
    def size(self) -> int: ...


@dataclass(slots=True)
class Failed:
    """The result of a request that was not done, or may not have been."""

    error: Exception


@dataclass(slots=True)
class Counters:
    """Written by the writer's thread, shown by others."""

    commits: int = 0
    writes: int = 0
    swept: int = 0
    opened: int = 0
    longest_commit_s: float = 0.0


class Committer:
    """`clock` is wall time in nanoseconds. `full` says that the last write found no room."""

    def __init__(self, database: Database, checkpointer: Checkpointer, clock: Callable[[], int]) -> None:
        self._database = database
        self._checkpointer = checkpointer
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._retry_at = 0.0
        self._sweep_at = 0.0
        self._version = 0
        self._uncopied = 0
        self.counters = Counters()
        self._unswept: set[int] = set()
        self.damage = Damage()
        self.outage = Outage(lambda: database.path)
        self.full = False

    # --- the file ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """PrismError when the file is not for us; what may pass shows in `outage`."""
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        try:
            connection = self._database.open_writer()
            stored = stored_version(connection)
            self.damage.look(connection, first=True)
        except sqlite3.Error as error:
            self.outage.begin(meaning(error, "not_executed") or cannot_open(error))
        except OSError as error:
            self.outage.begin(cannot_open(error))
        except PrismError as error:
            self.outage.begin(error)
            if error.code is not StatusCode.DATA_LOSS:
                raise
        else:
            self._version = max(self._version, stored)
            self._connection = connection
            self.counters.opened += 1
            self.outage.end()

    def close(self) -> None:
        self.outage.reason = closed()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def keep_up(self) -> None:
        """Whatever is due: opening the file again, deleting what has expired."""
        now = time.monotonic()
        if self._connection is None and now >= self._retry_at:
            with contextlib.suppress(PrismError):  # it shows in `outage`
                self.open()
        if self._connection is not None and now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            self.damage.look(self._connection)
            if self._is_in_place(self._connection):
                self._sweep(self._connection)

    def _is_in_place(self, connection: sqlite3.Connection) -> bool:
        """False when the file was taken away from its path: what is written to it would be found by nobody."""
        try:
            self._database.check()
        except PrismError as error:
            self.outage.begin(error)
        except OSError as error:
            self.outage.begin(cannot_open(error))
        else:
            return True
        connection.close()
        self._connection = None
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        return False

    def _broke(self, connection: sqlite3.Connection, error: sqlite3.Error) -> None:
        """End the transaction; after an error of the disk the connection too. Readers keep theirs: they hold the index
        of the log, from which the next writer learns where the last good COMMIT ended."""
        self.full = is_full(error)
        if not breaks_connection(error):
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                return
        connection.close()
        self._connection = None
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        self.outage.begin(meaning(error, "not_executed") or cannot_open(error))

    # --- transactions -----------------------------------------------------------------------------------------------

    def write(self, requests: Sequence[Request]) -> list[object]:
        """One transaction. The result of each request in order, or `Failed`."""
        connection = self._connection
        if connection is None:
            return [Failed(self.outage.refusal()) for _ in requests]
        may_checkpoint = self._checkpointer.idle
        outcome: Outcome = "not_executed"
        began = time.monotonic()
        try:
            connection.execute("BEGIN IMMEDIATE")
            session = Session(connection, self._clock() // 1_000_000, self._version)
            results = [self._one(session, request.operation) for request in requests]
            changed = self._keep_version(session)
            outcome = "unknown" if changed else "not_executed"
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._broke(connection, error)
            if is_full(error) and self._checkpointer.idle:
                self._checkpointer.run_on(connection)  # a log that is copied can start over: that frees its room
            if is_full(error) and outcome == "not_executed" and len(requests) > 1:
                # SQLite rolled back everything for want of room for one: what needs none, as deletions, goes alone
                return [result for request in requests for result in self.write([request])]
            return [Failed(meaning(error, outcome) or error) for _ in requests]
        self.full = any(isinstance(result, Failed) and _says_full(result.error) for result in results)
        self.counters.commits += 1
        self.counters.writes += len(requests)
        self.counters.longest_commit_s = max(self.counters.longest_commit_s, time.monotonic() - began)
        if changed:
            self._uncopied += sum(request.size + 2 * PAGE_BYTES for request in requests)
            if may_checkpoint:
                self._checkpoint(connection)
        return results

    def _one(self, session: Session, operation: Operation[Any]) -> object:
        """A request in its savepoint. What breaks the whole transaction is raised."""
        connection = session.connection
        connection.execute("SAVEPOINT request")
        try:
            result: object = operation(session)
        except sqlite3.Error as error:
            if breaks_connection(error) or not connection.in_transaction:
                raise
            result = Failed(meaning(error, "not_executed") or error)
        except _DEFECTS as error:
            self.damage.met(error)
            result = Failed(error)
        if isinstance(result, Failed):
            connection.execute("ROLLBACK TO request")
        connection.execute("RELEASE request")
        return result

    def _keep_version(self, session: Session) -> bool:
        """Every transaction that changes anything moves the stored counter too, so that no version is given out twice.
        True when there is something to COMMIT."""
        connection = session.connection
        if connection.total_changes == session.changes_before:
            return False
        self._version = session.version + 1
        keep_version(connection, self._version)
        return True

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Called after a COMMIT that changed something, before which the checkpointer was idle (see there why)."""
        if self._checkpointer.log_bytes > LOG_BYTES:
            self._checkpointer.run_on(connection)
            self._checkpointer.log_bytes = self._uncopied = 0
        elif self._uncopied >= CHECKPOINT_BYTES or self._checkpointer.error:
            self._uncopied = 0
            self._checkpointer.request()

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Delete a slice of what has expired; go on soon when it was not all."""
        now_ms = self._clock() // 1_000_000
        try:
            if connection.execute("SELECT 1 FROM kv WHERE expires <= ? LIMIT 1", (now_ms,)).fetchone() is None:
                return
            connection.execute("BEGIN IMMEDIATE")
            gone = sweep(Session(connection, now_ms, self._version), SWEEP_KEYS, self._unswept)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._broke(connection, error)
            return
        self.counters.swept += gone
        self._uncopied += gone * PAGE_BYTES
        if gone == SWEEP_KEYS:
            self._sweep_at = 0.0


def _says_full(error: Exception) -> bool:
    return isinstance(error, PrismError) and error.reason == "STORE_FULL"
