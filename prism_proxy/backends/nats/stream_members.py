"""One member of a group: asks for as many records as it may have open, and gives back what it has when it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prism_proxy._native.nats.connection import NatsClosed, NatsDenied
from prism_proxy.backends.nats import stream_records as records
from prism_proxy.backends.nats.client import Channel
from prism_proxy.backends.nats.errors import ApiError, ended, meaning
from prism_proxy.backends.nats.jetstream import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND
from prism_proxy.backends.nats.log_reader import AGAIN_S, PASSING, WAIT_S
from prism_proxy.backends.nats.logs import Log
from prism_proxy.backends.nats.pull import HEARTBEAT_S, TERM, Entry, Pull, nak
from prism_proxy.models.messages import Sink
from prism_proxy.models.messaging_errors import group_not_found, subscriber_replaced
from prism_proxy.models.stream.contract import Membership, Record
from prism_runtime import log

if TYPE_CHECKING:
    from prism_proxy.backends.nats.stream_groups import Groups
    from prism_proxy.backends.nats.streams import NatsStreams

MOVED = "delivered too often"


class Member:
    def __init__(
        self, streams: NatsStreams, groups: Groups, stored: Log, membership: Membership, sink: Sink[Record]
    ) -> None:
        self.key = stored.stream, membership.group
        self._streams = streams
        self._groups = groups
        self._log = stored
        self._membership = membership
        self._sink = sink
        self._consumer = streams.logs.names.consumer(membership.group)
        self._mark = uuid.uuid4().hex
        self._open: dict[int, tuple[Entry, float]] = {}  # and when its time is over
        self._came: deque[Entry] = deque()
        self._changed = asyncio.Event()
        self._ended: int | None = 0
        self._pull: Pull | None = None
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._replaced = False

    async def open(self) -> None:
        """A member of the same id, here or elsewhere, ends."""
        self._channel = await self._streams.js.client().subscribe(
            self._groups.control(self._log, self._membership.group), self)
        await self._groups.tell(self._log, self._membership.group,
                                "\0".join(("joined", self._membership.consumer_id, self._mark)).encode())
        self._groups.add(self)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        if self._task is None:
            return
        task, self._task = self._task, None
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=AGAIN_S)
        if self._open:
            await self._return_first()
        self._leave()
        with contextlib.suppress(NatsClosed):
            await self._streams.js.client().usable().confirm()

    async def _return_first(self) -> None:
        """A server that still has a request of ours takes what is given back first out of its order, finds that nobody
        asks any more, and puts it behind the others. So the first one goes alone."""
        offset = min(self._open)
        entry, _ = self._open.pop(offset)
        with contextlib.suppress(*PASSING, ApiError, TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await self._streams.js.tell_all([(entry.reply, nak())])

    def _leave(self) -> None:
        """What it has goes back at once."""
        self._groups.discard(self)
        client = self._streams.js.client() if self._streams.js.is_open else None
        if client is not None and self._channel is not None:
            client.unsubscribe(self._channel, self)
        self._channel = None
        self._return([*(entry for entry, _ in self._open.values()), *self._came])
        self._open.clear()
        self._came.clear()

    def _return(self, entries: Iterable[Entry]) -> None:
        if self._streams.js.is_open:
            with contextlib.suppress(NatsClosed):
                connection = self._streams.js.client().usable()
                for entry in entries:
                    connection.publish(entry.reply, None, None, nak())

    # --- what others do -----------------------------------------------------------------------------------------------

    def received(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        """News of the group."""
        word, *told = data.decode("utf-8", "replace").split("\0")
        if word == "who" and reply is not None:
            with contextlib.suppress(NatsClosed):
                self._streams.js.client().usable().publish(reply, None, None, self._membership.consumer_id.encode())
        elif word == "settled":
            for text in told:
                if text.isdecimal():
                    self.take(int(text))
        elif word == "sought":
            self.forget()
        elif word == "joined" and told[:1] == [self._membership.consumer_id] and told[1:] != [self._mark]:
            self._replaced = True
            if self._task is not None:
                self._task.cancel()
            self._leave()
            self._sink.end(subscriber_replaced(self._membership.consumer_id))

    def interrupted(self, why: str) -> None:
        self._changed.set()

    def denied(self, error: NatsDenied) -> None:
        self._sink.end(meaning(error))

    def take(self, offset: int) -> Entry | None:
        """Settle an open delivery; None when it is not open here, or its time is over."""
        found = self._open.pop(offset, None)
        if found is None or found[1] < asyncio.get_running_loop().time():
            return None
        self._changed.set()
        return found[0]

    def forget(self) -> None:
        """The position of the group was moved: what is open is nobody's."""
        self._open.clear()
        self._changed.set()

    # --- deliveries ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        client = self._streams.js.client()
        client.watchers.add(self._lost)
        try:
            while True:
                try:
                    await self._serve()
                except PASSING:
                    pass
                except ApiError as error:
                    if error.number in (CONSUMER_NOT_FOUND, STREAM_NOT_FOUND):
                        raise group_not_found(self._membership.stream, self._membership.group) from error
                    log.get("prism.nats").warning("JetStream refuses the deliveries of a group", reason=str(error),
                                                  stream=self._log.stream, group=self._membership.group)
                await asyncio.sleep(AGAIN_S)
        except Exception as error:  # noqa: BLE001 - nobody waits for this task: the member must hear
            self._sink.end(ended(error, "a membership of a group"))
        finally:
            client.watchers.discard(self._lost)

    async def _serve(self) -> None:
        """Deliver until the connection or the consumer is lost."""
        connection = self._streams.js.client().usable()
        await self._streams.js.consumer_info(self._log.stream, self._consumer)
        pull = self._pull = Pull(
            self._streams.js, self._log.stream, self._consumer, self._entry, self._end, connection)
        self._ended = 0
        try:
            while connection.usable and self._ended != 409:
                while self._came:
                    await self._deliver(self._came.popleft())
                now = asyncio.get_running_loop().time()
                for offset in [offset for offset, (_, until) in self._open.items() if until < now]:
                    del self._open[offset]
                wanted = self._membership.max_in_flight - len(self._open)
                if wanted > 0 and self._ended is not None:
                    self._ended = None
                    pull.heard = False
                    pull.ask(wanted, WAIT_S)
                if not await self._wait():
                    return
        finally:
            self._pull = None
            pull.close()
            self._return(self._came)
            self._came.clear()

    async def _wait(self) -> bool:
        """Until something came or was acknowledged. False when the server fell silent."""
        if self._came or (self._ended is not None and self._membership.max_in_flight > len(self._open)):
            return True
        self._changed.clear()
        soonest = min((until for _, until in self._open.values()), default=float("inf"))
        left = soonest - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.001, min(2.5 * HEARTBEAT_S, left))):
                await self._changed.wait()
        except TimeoutError:
            if left > 2.5 * HEARTBEAT_S and self._pull is not None and self._ended is None:
                heard, self._pull.heard = self._pull.heard, False
                return heard
        return True

    async def _deliver(self, entry: Entry) -> None:
        most = self._streams.settings.max_deliveries
        record = records.record(entry, entry.deliveries)
        if most and entry.deliveries > most:
            record.attempt = entry.deliveries - 1
            reason = self._groups.reason(self._log, self._membership.group, entry.sequence)
            await self._groups.bury(self._membership.stream, record, reason or MOVED)
            await self._streams.js.tell_all([(entry.reply, TERM)])
            return
        self._open[entry.sequence] = entry, asyncio.get_running_loop().time() + self._streams.settings.ack_timeout_s
        while not self._sink.push(record):
            await self._sink.room()

    def _entry(self, entry: Entry) -> None:
        self._came.append(entry)
        self._changed.set()

    def _end(self, status: int) -> None:
        self._ended = status
        self._changed.set()

    def _lost(self) -> None:
        """The connection: the server delivers what is open to others when its time is over."""
        self._changed.set()
