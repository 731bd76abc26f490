"""Uploads by obstore: one request for what fits in a part, else a multipart upload that obstore runs.

    gathering --complete--> one put
        |
        | more than a part
        v
    streaming --complete--> the source ends, obstore completes the multipart upload
        |
        +------abort------> the source fails, obstore aborts it

obstore's own call is never cancelled: it would leave the parts where they are.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from prism_proxy.object_stores.cloud.budget import BufferBudget
from prism_proxy.object_stores.cloud.errors import meaning
from prism_proxy.object_stores.contract import Chunk, PutResult
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError

PIECE_BYTES = 1024 * 1024  # what obstore is given at once
LARGE_PIECE = 128 * 1024  # a crossing into Rust costs less than one more copy of this
FREE_BYTES = 256 * 1024  # what an upload may hold before it takes its share of the budget
MORE_PARTS = 2  # under way at once beside the first, where there is room
MAX_PARTS = 10_000

Put = Callable[..., Awaitable[Any]]


class _Aborted(Exception):  # noqa: N818 - it makes obstore abort
    pass


class CloudUpload:
    """An `Upload`. `put(source, **options)` is obstore's, for one object. What it may hold is taken from the budget
    when it holds more than a little, and all at once: two parts, one that is filled and one under way."""

    def __init__(self, put: Put, part_bytes: int, budget: BufferBudget) -> None:
        self.upload_id = uuid.uuid4().hex
        self._put, self._part, self._budget = put, part_bytes, budget
        self._reserved = 0
        self._gathered: list[Chunk] = []
        self._waiting = 0  # bytes of these
        self._size = 0
        self._over = False
        self._handed: deque[Chunk | None] = deque()  # what obstore has not taken; None is the end
        self._giver: asyncio.Future[None] | None = None  # done when it has taken something, or has ended
        self._taker: asyncio.Future[None] | None = None  # done when there is something to take
        self._aborted = False
        self._running: asyncio.Task[Any] | None = None

    async def write(self, chunk: Chunk) -> None:
        if self._over:
            raise ObjectStoreError("the upload is over: it was aborted, or completed", ErrorCode.UPLOAD_NOT_FOUND)
        if self._size + len(chunk) > MAX_PARTS * self._part:
            raise ObjectStoreError(f"the object needs more than {MAX_PARTS} parts: raise part_bytes",
                                   ErrorCode.TOO_LARGE)
        if not self._reserved and self._size + len(chunk) > FREE_BYTES:
            await self._budget.acquire(2 * self._part)
            self._reserved = 2 * self._part
        self._gathered.append(_lasting(chunk))
        self._size += len(chunk)
        self._waiting += len(chunk)
        if self._running is None and self._size > self._part:
            self._start()
        if self._running is not None and self._waiting >= PIECE_BYTES:
            await self._flush()

    async def complete(self) -> PutResult:
        if self._over:
            raise ObjectStoreError("the upload is over: it was aborted, or completed", ErrorCode.UPLOAD_NOT_FOUND)
        self._over = True
        if self._running is None:
            data, self._gathered = b"".join(self._gathered), []
            self._run(self._put(data, use_multipart=False))
        else:
            await self._flush()
            await self._hand_over(None)
        assert self._running is not None
        result = await self._result(self._running)
        return PutResult((result["e_tag"] or "").strip('"'), self._size, result["version"] or "")

    async def abort(self) -> None:
        self._over = self._aborted = True
        self._gathered = []
        if self._running is None:
            self._release()
            return
        _wake(self._taker)  # the source sees that it is aborted
        await asyncio.wait({self._running})

    async def _flush(self) -> None:
        """Hand over what was gathered: a crossing into Rust for each small chunk would cost more than its bytes."""
        if not self._gathered:
            return
        gathered = self._gathered
        if self._waiting < LARGE_PIECE * len(gathered):
            gathered = [b"".join(gathered)]
        self._gathered, self._waiting = [], 0
        for data in gathered:
            for start in range(0, len(data), self._part):  # obstore would keep a larger piece beside its own parts
                await self._hand_over(data if len(data) <= self._part else data[start:start + self._part])

    def _start(self) -> None:
        more = 0
        while more < MORE_PARTS and self._budget.acquire_now(self._part):
            self._reserved += self._part
            more += 1
        self._run(self._put(self._source(), use_multipart=True, chunk_size=self._part, max_concurrency=1 + more))

    def _run(self, putting: Awaitable[Any]) -> None:
        async def run() -> Any:
            return await putting

        self._running = asyncio.get_running_loop().create_task(run())
        self._running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[Any]) -> None:
        self._release()
        self._handed.clear()
        _wake(self._giver)
        if not running.cancelled():
            running.exception()  # it need not be waited for

    def _release(self) -> None:
        reserved, self._reserved = self._reserved, 0
        if reserved:
            self._budget.release(reserved)

    async def _hand_over(self, data: Chunk | None) -> None:
        """Waits until obstore is one piece behind at most; fails when obstore has failed."""
        running = self._running
        assert running is not None
        self._handed.append(data)
        _wake(self._taker)
        while len(self._handed) > 1 and not running.done():
            self._giver = asyncio.get_running_loop().create_future()
            await self._giver
        if running.done() and data is not None:
            await self._result(running)
            raise ObjectStoreError("the upload ended early", ErrorCode.FAILED)

    async def _result(self, running: asyncio.Task[Any]) -> Any:
        try:
            return await asyncio.shield(running)
        except Exception as error:
            found = meaning(error)
            if found is None:
                raise
            raise found from error

    async def _source(self) -> AsyncIterator[Chunk]:
        while True:
            while not self._handed and not self._aborted:
                self._taker = asyncio.get_running_loop().create_future()
                await self._taker
            if self._aborted:
                raise _Aborted
            data = self._handed.popleft()
            _wake(self._giver)
            if data is None:
                return
            yield data


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _lasting(chunk: Chunk) -> Chunk:
    """What stays as it is when its lender goes on."""
    immutable = isinstance(chunk, bytes) or (isinstance(chunk, memoryview) and isinstance(chunk.obj, bytes))
    return chunk if immutable else bytes(chunk)
