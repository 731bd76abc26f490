"""Threads that read, each call on a connection of its own.

No read waits for the writer, and no disk blocks the loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prism_proxy.backends.sqlite.damage import Damage
from prism_proxy.backends.sqlite.database import Database
from prism_proxy.backends.sqlite.errors import breaks_connection, closed, overloaded
from prism_proxy.errors import PrismError

ResultT = TypeVar("ResultT")


class Readers:
    """`run` belongs to the loop. Connections are opened on first use and again after an error of the disk."""

    def __init__(self, database: Database, threads: int, max_waiting: int, damage: Damage) -> None:
        self._database = database
        self._damage = damage
        self._max_waiting = max_waiting
        self._executor = ThreadPoolExecutor(threads, "sqlite-reader")
        self._idle: list[sqlite3.Connection] = []  # append and pop are atomic
        self._waiting = 0
        self._closed = False

    async def run(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """The result of a query. A caller that gives up leaves the query to end by itself."""
        if self._closed:
            raise closed()
        if self._waiting >= self._max_waiting:
            raise overloaded(self._waiting, "reads")
        self._waiting += 1
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._read, query)
        running.add_done_callback(self._ended)
        return await running

    def _ended(self, running: asyncio.Future[ResultT]) -> None:
        self._waiting -= 1

    def _read(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        connection = self._idle.pop() if self._idle else self._database.open_reader()
        broken = False
        try:
            return query(connection)
        except sqlite3.Error as error:
            broken = breaks_connection(error)
            self._damage.met(error)
            raise
        except PrismError as error:
            self._damage.met(error)
            raise
        finally:
            if broken:
                connection.close()
            else:
                self._idle.append(connection)

    async def close(self) -> None:
        """After the reads that run."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)
        for connection in self._idle:
            connection.close()
        self._idle.clear()
