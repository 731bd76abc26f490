"""A thread that copies the log into the database file, beside the writer, so that no write waits for it.

A checkpoint may only begin while the log holds something that is not copied yet. Were it all copied, the writer could
start the log over at that very moment, a race that SQLite before 3.51.3 loses at the price of the file. The writer
keeps this: it sees the checkpointer idle before its transaction, and asks for a checkpoint after the COMMIT.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time

from prism_proxy.backends.sqlite.database import PAGE_BYTES, Database


class Checkpointer:
    """All fields are written by one thread at a time; others may read them, to show."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpointer", daemon=True)
        self._idle = threading.Event()
        self._idle.set()
        self.runs = 0
        self.longest_s = 0.0
        self.log_bytes = 0  # length of the log at the last checkpoint
        self.error = ""

    @property
    def idle(self) -> bool:
        return self._idle.is_set()

    def await_idle(self, seconds: float) -> bool:
        """Whether it is idle by then."""
        return self._idle.wait(seconds)

    def start(self) -> None:
        self._thread.start()

    def request(self) -> None:
        self._idle.clear()
        self._requests.put(True)

    def stop(self) -> None:
        """Ends after what was requested."""
        self._requests.put(False)
        self._thread.join()

    def run_on(self, connection: sqlite3.Connection, mode: str = "PASSIVE") -> None:
        """One checkpoint, on this thread. What fails is tried at the next one: nothing was promised."""
        began = time.monotonic()
        try:
            _, frames, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            self.error = str(error)
            return
        self.error = ""
        self.runs += 1
        self.log_bytes = max(frames, 0) * PAGE_BYTES
        self.longest_s = max(self.longest_s, time.monotonic() - began)

    def _run(self) -> None:
        while self._requests.get():
            try:
                if self._connection is None:
                    self._connection = self._database.open_checkpointer()
            except sqlite3.Error as error:
                self.error = str(error)
            else:
                self.run_on(self._connection)
                if self.error:
                    self._connection.close()
                    self._connection = None
            self._idle.set()
        if self._connection is not None:
            self._connection.close()
