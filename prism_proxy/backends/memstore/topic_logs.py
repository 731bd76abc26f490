"""The log of one topic in memory, and the durable subscriptions that read it."""

from __future__ import annotations

import asyncio
import bisect
from contextlib import suppress
from dataclasses import dataclass

from prism_proxy._native.memstore.store import MessageBytes
from prism_proxy.backends.memstore.memory import size_of
from prism_proxy.models.messages import Delivery, Sink, StoredMessage
from prism_proxy.models.messaging_errors import durable_not_found, subscriber_replaced
from prism_proxy.models.pubsub.contract import (
    NEWEST,
    DurablePosition,
    DurableSubscription,
    LastMessage,
    PubSubSettings,
    TopicDetails,
)

TRIM_AT = 1024  # removed messages at the beginning of the list, before it is shortened


@dataclass(slots=True)
class Kept:
    sequence: int
    message: StoredMessage
    size: int
    appended_ms: int


@dataclass(slots=True)
class Durable:
    """`settled` is the sequence up to which its subscriber has everything."""

    name: str
    settled: int
    reader: DurableReader | None = None


class Log:
    """Sequences are dense and begin at 1."""

    def __init__(self, topic: str, memory: MessageBytes) -> None:
        self.topic = topic
        self.durables: dict[str, Durable] = {}
        self._memory = memory
        self._kept: list[Kept] = []
        self._start = 0  # index of the first that is kept
        self._next = 1
        self._bytes = 0
        self._by_id: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._kept) - self._start

    def append(self, message: StoredMessage, now_ms: int) -> int:
        """StoreFull when there is no memory for it."""
        size = size_of(message)
        self._memory.take(size)
        sequence = self._next
        self._next += 1
        self._kept.append(Kept(sequence, message, size, now_ms))
        self._bytes += size
        self._by_id[message.message_id] = sequence
        for durable in self.durables.values():
            if durable.reader is not None:
                durable.reader.wake()
        return sequence

    def trim(self, settings: PubSubSettings, now_ms: int, *, appended: bool = False) -> int:
        """Remove what the bounds do not keep; returns how many bytes. After an append a few will do."""
        size, most = 0, 4 if appended else 1000
        oldest = now_ms - int(settings.log_max_age_s * 1000) if settings.log_max_age_s else 0
        while len(self) and most:
            first = self._kept[self._start]
            if not (first.appended_ms < oldest or 0 < settings.log_max_bytes < self._bytes
                    or 0 < settings.log_max_messages < len(self) or 0 < first.message.expires_ms <= now_ms):
                break
            self._bytes -= first.size
            size += first.size
            self._by_id.pop(first.message.message_id, None)
            self._kept[self._start] = _GONE
            self._start += 1
            most -= 1
        if self._start >= TRIM_AT and self._start * 2 > len(self._kept):
            del self._kept[:self._start]
            self._start = 0
        return size

    def clear(self) -> int:
        """Remove all messages; how many bytes they had."""
        size, self._bytes = self._bytes, 0
        self._kept.clear()
        self._by_id.clear()
        self._start = 0
        return size

    def last(self) -> LastMessage:
        if not len(self):
            return LastMessage("", 0)
        return LastMessage(self._kept[-1].message.message_id, self._kept[-1].sequence)

    def sequence_of(self, message_id: str) -> int | None:
        return self._by_id.get(message_id)

    def behind(self, sequence: int) -> Kept | None:
        """The first that is kept after this sequence."""
        if not len(self):
            return None
        index = self._start + max(sequence + 1 - self._kept[self._start].sequence, 0)
        return self._kept[index] if index < len(self._kept) else None

    def details(self) -> TopicDetails:
        first = self._kept[self._start].sequence if len(self) else 0
        return TopicDetails(len(self), first, self._next - 1 if len(self) else 0, [
            DurablePosition(each.name, each.settled + 1, min(len(self), self._next - 1 - each.settled))
            for each in self.durables.values()])

    def newest(self, count: int) -> list[Delivery]:
        return [self.delivery(kept) for kept in self._kept[max(self._start, len(self._kept) - count):]]

    def delivery(self, kept: Kept) -> Delivery:
        message = kept.message
        return Delivery(self.topic, message.data, message.headers, message.message_id, message.published_ms,
                        kept.sequence.to_bytes(8, "big"))

    def seek(self, durable_name: str, sequence: int, from_ms: int | None) -> None:
        durable = self._let_go(durable_name)
        end = self._next - 1
        if from_ms is not None:
            durable.settled = self._before(from_ms)
        else:
            durable.settled = end if sequence == NEWEST else min(max(sequence - 1, 0), end)

    def forget(self, durable_name: str) -> None:
        self._let_go(durable_name)
        del self.durables[durable_name]

    def _let_go(self, durable_name: str) -> Durable:
        """The durable subscription, which nobody has open any more."""
        durable = self.durables.get(durable_name)
        if durable is None:
            raise durable_not_found(self.topic, durable_name)
        if durable.reader is not None:
            durable.reader.replaced()
            durable.reader.let_go()
            durable.reader = None
        return durable

    def open(self, subscription: DurableSubscription, sink: Sink[Delivery]) -> DurableReader:
        durable = self.durables.get(subscription.durable_name)
        start = self._start_of(subscription, durable)
        if durable is None:
            durable = self.durables[subscription.durable_name] = Durable(subscription.durable_name, start)
        elif durable.reader is not None:
            durable.reader.replaced()
        durable.reader = DurableReader(self, durable, start, sink)
        return durable.reader

    def _start_of(self, subscription: DurableSubscription, durable: Durable | None) -> int:
        """The sequence behind which it begins."""
        if len(subscription.after) == 8:
            return int.from_bytes(subscription.after, "big")
        if subscription.from_message_id:
            known = self.sequence_of(subscription.from_message_id)
            if known is not None:
                return known - 1
            with suppress(ValueError):
                return self._before(int(subscription.from_message_id.replace("-", "")[:12], 16))
        if durable is not None:
            return durable.settled
        if subscription.from_ms is not None:
            return self._before(subscription.from_ms)
        return self._next - 1

    def _before(self, milliseconds: int) -> int:
        index = bisect.bisect_left(self._kept, milliseconds, self._start, key=lambda kept: kept.message.published_ms)
        return self._kept[index].sequence - 1 if index < len(self._kept) else self._next - 1


_GONE = Kept(0, StoredMessage("", b"", {}, 0), 0, 0)


class DurableReader:
    """An open durable subscription: one task that reads the log on."""

    def __init__(self, log: Log, durable: Durable, after: int, sink: Sink[Delivery]) -> None:
        self._log = log
        self._durable = durable
        self._after = after
        self._sink = sink
        self._settles = True
        self._more = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        self._more.set()

    def replaced(self) -> None:
        self._task.cancel()
        self._sink.end(subscriber_replaced(self._durable.name))

    def let_go(self) -> None:
        """The position is another one's from now on."""
        self._settles = False

    async def settle(self, position: bytes) -> None:
        if self._settles:
            self._durable.settled = max(self._durable.settled, int.from_bytes(position, "big"))

    async def close(self) -> None:
        self._task.cancel()
        if self._durable.reader is self:
            self._durable.reader = None

    async def _run(self) -> None:
        while True:
            self._more.clear()
            sent = 0
            while (kept := self._log.behind(self._after)) is not None:
                delivery = self._log.delivery(kept)
                while not self._sink.push(delivery):
                    await self._sink.room()
                self._after = kept.sequence
                sent += 1
                if sent % 100 == 0:
                    await asyncio.sleep(0)
            await self._more.wait()
