"""The one thread that writes: what waits is done in one transaction, and answered after its COMMIT.

It waits for nobody: alone, a request is a transaction; under load, those that came during the last COMMIT share the
next one, and its sync.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from prism_proxy.backends.sqlite.checkpointer import Checkpointer
from prism_proxy.backends.sqlite.committer import Committer, Failed, Operation, ResultT
from prism_proxy.backends.sqlite.database import Database
from prism_proxy.backends.sqlite.errors import RETRY_AFTER_S, closed, overloaded
from prism_proxy.contracts.movable import sealed

BATCH_REQUESTS = 1000
BATCH_BYTES = 16 * 1024 * 1024


class _Request(NamedTuple):
    operation: Operation[Any]
    size: int
    frees: bool
    answer: asyncio.Future[Any]


class Writer:
    """Methods belong to the loop; what runs on the thread is marked. `clock` is wall time in nanoseconds."""

    def __init__(self, database: Database, max_queued: int, max_queued_bytes: int, clock: Callable[[], int]) -> None:
        self._max_queued = max_queued
        self._max_queued_bytes = max_queued_bytes
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._unanswered = 0
        self._unanswered_bytes = 0
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self._closed = False
        self._stopping = False  # the thread's own
        self.sealed = False  # writes are refused: the data are on their way to another process
        self.checkpointer = Checkpointer(database)
        self.committer = Committer(database, self.checkpointer, clock)

    @property
    def queued(self) -> int:
        return self._unanswered

    @property
    def closed(self) -> bool:
        return self._closed

    async def open(self) -> None:
        """Tries once to open the file. PrismError when it is not for us; what may pass shows in `committer.outage`."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(None, self.committer.open)
        self.checkpointer.start()
        self._thread.start()

    async def submit(
        self, operation: Operation[ResultT], size: int, *, upkeep: bool = False, frees: bool = False,
    ) -> ResultT:
        """The operation's result, after the COMMIT of its transaction. `size` is its share of the queue, in bytes;
        `upkeep` is no write of a caller; what `frees` room may use what is kept for that on a full disk.

        A caller that gives up changes nothing: the write is done, or not, as if it had waited.
        """
        if self._closed:
            raise closed()
        if self.sealed and not upkeep:
            raise sealed()
        too_large = self._unanswered > 0 and self._unanswered_bytes + size > self._max_queued_bytes
        if too_large or self._unanswered >= self._max_queued:
            raise overloaded(self._unanswered, "writes")
        answer: asyncio.Future[ResultT] = self._loop.create_future()
        self._unanswered += 1
        self._unanswered_bytes += size
        self._all_answered.clear()
        self._queue.put(_Request(operation, size, frees, answer))
        return await answer

    async def drained(self) -> None:
        await self._all_answered.wait()

    async def close(self) -> None:
        """Ends the thread, after what is queued."""
        if self._closed:
            return
        self._closed = True
        if self._thread.is_alive():
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _settle(self, requests: list[_Request], results: list[object]) -> None:
        for request, result in zip(requests, results, strict=True):
            self._unanswered -= 1
            self._unanswered_bytes -= request.size
            if request.answer.done():
                continue
            if isinstance(result, Failed):
                request.answer.set_exception(result.error)
            else:
                request.answer.set_result(result)
        if not self._unanswered:
            self._all_answered.set()

    # --- on the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            requests = self._take()
            if requests:
                self._answer(requests, self.committer.write(requests))
            self.committer.keep_up()
        self.checkpointer.stop()
        self.committer.close()

    def _take(self) -> list[_Request]:
        """What is queued now, within the bounds of a transaction; waits for a first request, or for upkeep."""
        requests: list[_Request] = []
        size = 0
        try:
            request = self._queue.get(timeout=RETRY_AFTER_S)
            while request is not None:
                requests.append(request)
                size += request.size
                if len(requests) >= BATCH_REQUESTS or size >= BATCH_BYTES:
                    return requests
                request = self._queue.get_nowait()
            self._stopping = True
        except queue.Empty:
            pass
        return requests

    def _answer(self, requests: list[_Request], results: list[object]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, requests, results)
        except RuntimeError:
            self._stopping = True  # the loop is closed: nobody is left to answer
