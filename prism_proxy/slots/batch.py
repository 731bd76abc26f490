"""One call of a backend for many callers.

    an item arrives, nothing in progress ---> it goes at once
    items arrive while a call is in progress ---> they gather, and go together when it has ended

So a caller alone waits for nobody, and under load a backend gets fewer, larger calls. Items go in the order they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

from prism_proxy.errors import PrismError
from prism_proxy.slots.operation import Caller, Operation
from prism_proxy.slots.slot import Slot

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Command = Callable[[list[ItemT]], Awaitable[Sequence[ResultT | PrismError]]]


class _Waiting(NamedTuple):
    item: Any
    size: int
    caller: Caller | None
    done: asyncio.Future[Any]


class Batch(Generic[ItemT, ResultT]):
    """`command` takes the items of several callers and gives each its result or its error, in their order. `most_items`
    and `most_bytes` bound one call; an item alone always goes."""

    def __init__(
        self, slot: Slot[Any], operation: Operation, command: Command[ItemT, ResultT], *, most_items: int = 1000,
        most_bytes: int = 1024 * 1024,
    ) -> None:
        self._slot = slot
        self._operation = operation
        self._command = command
        self._most_items, self._most_bytes = most_items, most_bytes
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: ItemT, caller: Caller | None = None, *, size: int = 0) -> ResultT:
        """The result of one item; its own error, or the error of the whole call. A caller who goes away before its item
        was sent takes it along."""
        done: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, size, caller, done))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
        return await done

    async def _work(self) -> None:
        while self._waiting:
            batch = self._take()
            if batch:
                await self._call(batch)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < self._most_items:
            first = self._waiting[0]
            if batch and size + first.size > self._most_bytes:
                break
            self._waiting.popleft()
            if not first.done.done():  # else its caller has gone
                batch.append(first)
                size += first.size
        return batch

    async def _call(self, batch: Sequence[_Waiting]) -> None:
        try:
            results = await self._slot.call(
                self._operation, _Together([item.caller for item in batch]), self._command,
                [item.item for item in batch])
        except BaseException as error:
            for item in batch:
                _fail(item.done, error)
            if not isinstance(error, Exception):
                raise
            return
        for item, result in zip(batch, results, strict=True):
            if isinstance(result, PrismError):
                _fail(item.done, result)
            elif not item.done.done():
                item.done.set_result(result)


class _Together:
    """The callers of one batch: it may take as long as the most patient of them waits."""

    def __init__(self, callers: Sequence[Caller | None]) -> None:
        self._callers = callers

    def time_remaining(self) -> float | None:
        left = [caller.time_remaining() if caller is not None else None for caller in self._callers]
        return None if None in left else max(filter(None, left), default=0.0)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if done.done():
        return
    if isinstance(error, asyncio.CancelledError):
        done.cancel()
    else:
        done.set_exception(replace(error) if isinstance(error, PrismError) else error)  # each with its own traceback
