"""Who reads a stream: a reader from an offset on, and a member of a group. Each has a task that fetches and pushes.

Outages end neither: nothing is lost by them, so the task goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from prism_proxy._native.redis.resp import ConnectionLost, PipelineFull, RespError
from prism_proxy.backends.redis.wakeups import Wakeup
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import Sink
from prism_proxy.models.messaging_errors import subscriber_replaced
from prism_proxy.models.stream.contract import Membership, Record

if TYPE_CHECKING:
    from prism_proxy.backends.redis.streams import RedisStreams

AGAIN_S = 0.2  # after a loss
FOREIGN_S = 0.1  # between two looks for records of which nobody tells
LOOK_S = 1.0  # between two looks for records that other members did not acknowledge
PART_BYTES, MOST_RECORDS, FIRST_RECORDS = 1024 * 1024, 500, 16
_LOST = (ConnectionLost, PipelineFull, RespError)
ResultT = TypeVar("ResultT")


class Reader:
    """Pushes the records from `at` to `until`, and with `follow` those that come."""

    def __init__(
        self, streams: RedisStreams, stream: str, at: int, until: int | None, follow: bool, sink: Sink[Record]
    ) -> None:
        self._streams = streams
        self._stream = stream
        self._at, self._until, self._follow = at, until, follow
        self._sink = sink
        self._count = FIRST_RECORDS
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        await _cancelled(self._task)

    async def _run(self) -> None:
        if not self._follow:
            await self._read()
        else:
            async with Wakeup(self._streams.subscriptions(), self._streams.channel(self._stream), FOREIGN_S) as wakeup:
                while not await self._read():
                    await wakeup.wait(FOREIGN_S)
        self._sink.end(None)

    async def _read(self) -> bool:
        """Push what is there; whether that was all there will be."""
        while self._until is None or self._at <= self._until:
            count = max(1, min(self._count, self._sink.credit))
            found = await _lasting(lambda: self._streams.range(self._stream, self._at, self._until, count))  # noqa: B023
            if not found:
                return not self._follow
            for record in found:
                await _push(self._sink, record)
                self._at = record.offset + 1
            size = sum(len(record.data) for record in found)
            self._count = max(1, min(MOST_RECORDS, 2 * self._count, PART_BYTES * len(found) // max(1, size)))
        return True


class Member:
    """One consumer of a group."""

    def __init__(self, streams: RedisStreams, membership: Membership, sink: Sink[Record]) -> None:
        self._streams = streams
        self._membership = membership
        self._sink = sink
        self._mark = uuid.uuid4().hex
        self._wakeup = Wakeup(streams.subscriptions(), streams.channel(membership.stream), FOREIGN_S, self._heard)
        self._task: asyncio.Task[None] | None = None
        self._replaced = False

    async def open(self) -> None:
        """A member of the same name, here or elsewhere, ends."""
        member = self._membership
        await self._wakeup.__aenter__()
        news = "\0".join(("joined", member.group, member.consumer_id, self._mark))
        await self._streams.tell(member.stream, news.encode())
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        if self._task is None:
            return
        task, self._task = self._task, None
        await _cancelled(task)
        await self._wakeup.__aexit__(None, None, None)
        if not self._replaced:
            with contextlib.suppress(*_LOST, PrismError):  # else others get the records after the time to acknowledge
                await self._streams.leave(self._membership)

    def _heard(self, news: bytes) -> None:
        member = self._membership
        told = news.decode("utf-8", "replace").split("\0")
        if told[:3] == ["joined", member.group, member.consumer_id] and told[3:] != [self._mark]:
            self._replaced = True
            if self._task is not None:
                self._task.cancel()
            self._sink.end(subscriber_replaced(member.consumer_id))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        look_at = 0.0
        while True:
            look = loop.time() >= look_at
            if look:
                look_at = loop.time() + min(LOOK_S, max(0.02, self._streams.settings.ack_timeout_s / 5))
            try:
                found, due_ms = await _lasting(
                    lambda: self._streams.fetch(self._membership, self._membership.max_in_flight, look=look))  # noqa: B023
            except PrismError as error:  # the group or the stream is gone
                self._sink.end(error)
                return
            for record in found:
                await _push(self._sink, record)
            if not found:
                pause = min(FOREIGN_S, max(0.0, look_at - loop.time()), due_ms / 1000 if due_ms > 0 else FOREIGN_S)
                await self._wakeup.wait(max(pause, 0.005))


async def _push(sink: Sink[Record], record: Record) -> None:
    while not sink.push(record):
        await sink.room()


async def _lasting(call: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """The result of a call that is made again while the server is away."""
    while True:
        try:
            return await call()
        except _LOST as error:
            if isinstance(error, RespError) and error.kind in ("WRONGTYPE", "NOPERM"):
                raise
        await asyncio.sleep(AGAIN_S)


async def _cancelled(task: asyncio.Task[None]) -> None:
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_S)
