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
from functools import partial
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
    store_full,
)
from prism_proxy.backends.sqlite.messaging.content import forget_old
from prism_proxy.backends.sqlite.messaging.log_rows import UNSEEN, drop_expired_records, drop_unseen
from prism_proxy.backends.sqlite.messaging.queue_rows import drop_expired
from prism_proxy.backends.sqlite.operations import Session, sweep
from prism_proxy.backends.sqlite.outage import Outage
from prism_proxy.backends.sqlite.schema import keep_version, stored_version
from prism_proxy.errors import PrismError, StatusCode

ResultT = TypeVar("ResultT")
Operation = Callable[[Session], ResultT]
SWEEP_SECONDS = 1.0
SWEEP_KEYS = 500
CHECKPOINT_BYTES = 4 * 1024 * 1024  # written since the last checkpoint
MIN_CHECKPOINT_BYTES = 128 * 1024
FREEING_PAGES = 16  # by which a full file may grow for what frees room
IDLE_WAIT_S = 5.0  # for a checkpoint in progress
CUT_WAIT_MS = 100  # for readers, before the log is cut
LOG_BYTES = 64 * 1024 * 1024  # beyond this the writer itself catches up, which lets it start the log over
# what a defect of an operation may raise; it fails its own request only
_DEFECTS = (TypeError, ValueError, OverflowError, MemoryError, PrismError)


class Request(Protocol):
    """A write to be done; `size` is about how many bytes it writes, `frees` whether it frees room in the file."""

    @property
    def operation(self) -> Operation[Any]: ...

    @property
    def size(self) -> int: ...

    @property
    def frees(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Upkeep:
    operation: Operation[Any]
    size: int
    frees: bool = True


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
        self._sweeps = (
            ("SELECT 1 FROM kv WHERE expires <= ? LIMIT 1", partial(sweep, limit=SWEEP_KEYS, damaged=set())),
            ("SELECT 1 FROM message WHERE expires > 0 AND expires <= ? LIMIT 1", drop_expired),
            ("SELECT 1 FROM duplicate WHERE until <= ? LIMIT 1", forget_old),
            ("SELECT 1 FROM record WHERE expires > 0 AND expires <= ? LIMIT 1", drop_expired_records),
            (UNSEEN, drop_unseen))
        self.damage = Damage()
        self.outage = Outage(lambda: database.path)
        self.full = False
        self._room = database.headroom

    # --- the file ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """PrismError when the file is not for us; what may pass shows in `outage`."""
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        try:
            connection = self._open_writer()
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
            if self._room.held:
                self._room.take()
            else:
                self._regain_room(connection)

    def _open_writer(self) -> sqlite3.Connection:
        """On a full disk the reserve makes room for the files that SQLite needs."""
        try:
            return self._database.open_writer()
        except (OSError, sqlite3.Error):
            if not self._room.none_left() or not self._room.give():
                raise
            return self._database.open_writer()

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
                if self._uncopied >= self._checkpoint_bytes:
                    self._catch_up(self._connection)  # the checkpointer was busy after the last writes of a burst
                self._regain_room(self._connection)
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
        """The result of each request in order, or `Failed`; in one transaction, but for a full disk."""
        connection = self._connection
        if connection is None:
            return [Failed(self.outage.refusal()) for _ in requests]
        results = self._transaction(connection, requests) if self._room.held else None
        if results is None:
            results = self._write_tightly(connection, requests)
        else:
            stuck = [index for index, result in enumerate(results) if requests[index].frees and _says_full(result)]
            if stuck:  # by max_bytes: the transaction went on without them
                retried = self._write_tightly(connection, [requests[index] for index in stuck])
                for index, result in zip(stuck, retried, strict=True):
                    results[index] = result
        self.full = any(_says_full(result) for result in results)
        return results

    def _transaction(self, connection: sqlite3.Connection, requests: Sequence[Request]) -> list[object] | None:
        """None when there was no room, and nothing has been done."""
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
            if is_full(error):
                return None  # also at COMMIT: the log lacks the frame that would make it count
            return [Failed(meaning(error, outcome) or error) for _ in requests]
        for what in session.damaged:
            self.damage.note(what)
        self.counters.commits += 1
        self.counters.writes += len(requests)
        self.counters.longest_commit_s = max(self.counters.longest_commit_s, time.monotonic() - began)
        if changed:
            self._uncopied += sum(request.size + 2 * PAGE_BYTES for request in requests)
            if self._uncopied >= self._checkpoint_bytes and self._room.scarce():
                self._catch_up(connection)
            elif may_checkpoint:
                self._checkpoint(connection)
        return results

    def _write_tightly(self, connection: sqlite3.Connection, requests: Sequence[Request]) -> list[object]:
        """Each request alone, in a file that does not grow: what frees room, and what fits into what was freed."""
        results: list[object] = []
        for request in requests:
            if self._connection is None:
                results.append(Failed(self.outage.refusal()))
                continue
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            grown = min(pages, self._database.pages) + (FREEING_PAGES if request.frees else 0)
            connection.execute(f"PRAGMA max_page_count={grown}")
            result = self._transaction(connection, [request])
            if result is None and (request.frees or self._room.none_left()):
                self._make_room(connection)
                result = self._transaction(connection, [request])
            results += [Failed(store_full())] if result is None else result
        if self._connection is not None:
            connection.execute(f"PRAGMA max_page_count={self._database.pages}")
            self._regain_room(connection)
        return results

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Give up the reserve, so that the log can be copied and start over; also when another program took it."""
        self._room.give()
        self._start_log_over(connection)

    def _regain_room(self, connection: sqlite3.Connection) -> None:
        if not self._room.held:
            self._start_log_over(connection)
            self._room.take()

    def _start_log_over(self, connection: sqlite3.Connection) -> None:
        """Copy the log and cut it, unless a reader needs it: that frees its room. On this thread and with an idle
        checkpointer, for the reason the checkpointer's module gives."""
        if self._checkpointer.await_idle(IDLE_WAIT_S):
            connection.execute(f"PRAGMA busy_timeout={CUT_WAIT_MS}")
            self._checkpointer.run_on(connection, "TRUNCATE")
            connection.execute(f"PRAGMA busy_timeout={self._database.busy_timeout_ms}")

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

    @property
    def _checkpoint_bytes(self) -> int:
        """The log may be copied on a full disk, into the room of the reserve."""
        kept = self._room.kept
        return min(CHECKPOINT_BYTES, max(kept // 2, MIN_CHECKPOINT_BYTES)) if kept else CHECKPOINT_BYTES

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Called after a COMMIT that changed something, before which the checkpointer was idle (see there why)."""
        if self._checkpointer.log_bytes > LOG_BYTES:
            self._catch_up(connection)
        elif self._uncopied >= self._checkpoint_bytes or self._checkpointer.error:
            self._uncopied = 0
            self._checkpointer.request()

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Copy all of the log before the next transaction, which then starts it over."""
        if self._checkpointer.await_idle(IDLE_WAIT_S):
            self._checkpointer.run_on(connection)
            self._checkpointer.log_bytes = self._uncopied = 0

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Delete a slice of what has expired; go on soon when it was not all."""
        now_ms = self._clock() // 1_000_000
        for due, operation in self._sweeps:
            try:
                if connection.execute(due, (now_ms,)).fetchone() is None:
                    continue
            except sqlite3.Error as error:
                self._broke(connection, error)
                return
            (gone,) = self.write([_Upkeep(operation, SWEEP_KEYS * PAGE_BYTES)])
            if self._connection is None or not isinstance(gone, int):
                return
            self.counters.swept += gone
            if gone >= SWEEP_KEYS:
                self._sweep_at = 0.0


def _says_full(result: object) -> bool:
    return isinstance(result, Failed) and isinstance(result.error, PrismError) and result.error.reason == "STORE_FULL"
