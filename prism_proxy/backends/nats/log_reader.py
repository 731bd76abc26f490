"""Reads a log in order, from a place on, whatever happens to connections and servers meanwhile: by a consumer of its
own that acknowledges nothing, and that is made again behind the last message when it is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from prism_proxy._native.nats.connection import NatsClosed
from prism_proxy.backends.nats.errors import ApiError, NoAnswer, NoResponders, ended
from prism_proxy.backends.nats.jetstream import STREAM_NOT_FOUND, JetStream
from prism_proxy.backends.nats.logs import NANO, Log
from prism_proxy.backends.nats.pull import HEARTBEAT_S, Entry, Pull
from prism_proxy.errors import PrismError

AGAIN_S = 0.1
MOST_AT_ONCE = 500
WAIT_S = 30.0
UNUSED_S = 60.0  # a consumer that nobody asks is removed by the server
PASSING = (NatsClosed, NoAnswer, NoResponders)


class Receiver(Protocol):
    """A sink, by whatever it makes of an entry."""

    @property
    def credit(self) -> int: ...

    def push(self, entry: Entry) -> bool: ...

    async def room(self) -> None: ...

    def end(self, error: PrismError | None) -> None: ...


class LogReader:
    """`start` is the first sequence, or fields of a consumer that say where it begins. `until` is the last sequence
    wanted; without `follow` it ends there, and at what was the end when it began. `find` waits for the log."""

    def __init__(
        self, js: JetStream, find: Callable[[], Any], start: int | dict[str, Any], receiver: Receiver,
        until: int | None = None, *, follow: bool = True,
    ) -> None:
        self._js = js
        self._find = find
        self._start: dict[str, Any] = _at(start) if isinstance(start, int) else start
        self._receiver = receiver
        self._until = until
        self._follow = follow
        self._came: deque[Entry] = deque()
        self._changed = asyncio.Event()
        self._ended: int | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def opened(self) -> None:
        """Return when the server knows where it begins, at the first attempt or a later one."""
        await asyncio.shield(self._ready)

    async def close(self) -> None:
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=AGAIN_S)

    async def _run(self) -> None:
        try:
            while True:
                if await self._attempt():
                    break
                await asyncio.sleep(AGAIN_S)
            self._receiver.end(None)
        except Exception as error:  # noqa: BLE001 - nobody waits for this task: the receiver must hear
            self._receiver.end(ended(error, "a read of a log"))
        finally:
            if not self._ready.done():
                self._ready.set_result(None)

    async def _attempt(self) -> bool:
        """Read until the end (True), or until the consumer is lost."""
        client = self._js.client()
        pull: Pull | None = None
        name = f"r-{uuid.uuid4().hex}"
        log: Log | None = None
        client.watchers.add(self._changed.set)
        try:
            log = await self._find()
            if log is None:
                return False
            connection = client.usable()
            await self._js.make_consumer(log.stream, name, {
                "filter_subject": log.subject.decode(), "ack_policy": "none", "mem_storage": True, "num_replicas": 1,
                "inactive_threshold": int(UNUSED_S * NANO), **self._start})
            if not self._ready.done():
                self._ready.set_result(None)
            pull = Pull(self._js, log.stream, name, self._entry, self._end, connection)
            return await self._read(pull)
        except PASSING:
            return False
        except ApiError as error:
            if error.number == STREAM_NOT_FOUND and self._follow and log is not None:
                self._start = {"deliver_policy": "all"}  # a new one will begin anew
            elif error.code != 503:
                raise
            return False
        finally:
            client.watchers.discard(self._changed.set)
            self._came.clear()
            if pull is not None and log is not None:
                pull.close()
                with contextlib.suppress(*PASSING, ApiError):
                    client.usable().publish(self._js.subject(f"CONSUMER.DELETE.{log.stream}.{name}"), None, None, b"")

    async def _read(self, pull: Pull) -> bool:
        expected = 1
        while True:
            self._ended, pull.heard = None, False
            pull.ask(max(1, min(MOST_AT_ONCE, self._receiver.credit)), WAIT_S if self._follow else 0.0)
            while self._ended is None or self._came:
                if not self._came:
                    if not await self._wait(pull):
                        return False
                    continue
                entry = self._came.popleft()
                if entry.consumer_sequence != expected:
                    return False
                expected += 1
                if self._until is not None and entry.sequence > self._until:
                    return True
                while not self._receiver.push(entry):
                    await self._receiver.room()
                self._start = _at(entry.sequence + 1)
                if entry.sequence == self._until or (not self._follow and not entry.pending):
                    return True
            if not self._follow and self._ended == 404:
                return True
            if self._ended not in (0, 404, 408):
                return False

    async def _wait(self, pull: Pull) -> bool:
        """Until something came. False when nothing did for too long, or the connection is gone."""
        self._changed.clear()
        try:
            async with asyncio.timeout(2.5 * HEARTBEAT_S):
                await self._changed.wait()
        except TimeoutError:
            heard, pull.heard = pull.heard, False
            return heard and self._js.client().connection is not None
        return bool(self._came) or self._ended is not None

    def _entry(self, entry: Entry) -> None:
        self._came.append(entry)
        self._changed.set()

    def _end(self, status: int) -> None:
        self._ended = status
        self._changed.set()


def _at(sequence: int) -> dict[str, Any]:
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, sequence)}
