"""Dead letters of queues: where they go, how they get there once, and how they come back.

ConfigureDeadLetter is metadata of JetStream's stream, so that it holds for all proxies at once and later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from prism_proxy.backends.nats import queue_messages as messages
from prism_proxy.backends.nats.logs import Log
from prism_proxy.backends.nats.pull import TERM, Entry
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import (
    DEAD_LETTER_SUFFIX,
    ERROR_HEADER,
    RETRIES_HEADER,
    SOURCE_HEADER,
    StoredMessage,
)
from prism_proxy.models.queue.contract import DeadLetters, QueuedMessage, QueueItem, Redriven

if TYPE_CHECKING:
    from prism_proxy.backends.nats.queues import NatsQueues

QUEUE, RECEIVES = "prism.dead_letter.queue", "prism.dead_letter.max_receives"
_DEAD_HEADERS = frozenset({SOURCE_HEADER, ERROR_HEADER, RETRIES_HEADER})


class Target(NamedTuple):
    """`max_receives` 0: nothing moves."""

    queue: str
    max_receives: int


class DeadLetterQueues:
    def __init__(self, queues: NatsQueues) -> None:
        self._queues = queues

    async def configure(self, queue: str, dead_letter_queue: str, max_receives: int) -> None:
        log = await self._queues.made(queue)
        await self._queues.logs.configure(log, {}, {QUEUE: dead_letter_queue, RECEIVES: str(max_receives)})

    async def target(self, queue: str, log: Log) -> Target:
        found = (await self._queues.logs.config(log)).get("metadata") or {}
        most = str(found.get(RECEIVES, ""))
        return Target(str(found.get(QUEUE) or queue + DEAD_LETTER_SUFFIX),
                      int(most) if most.isdigit() else self._queues.settings.max_receives)

    async def describe(self, queue: str) -> DeadLetters:
        log = await self._queues.found(queue)
        target = Target(queue + DEAD_LETTER_SUFFIX, self._queues.settings.max_receives) if log is None else (
            await self.target(queue, log))
        counts = await self._queues.counts(target.queue)
        return DeadLetters(target.queue, target.max_receives, counts.ready + counts.in_flight + counts.scheduled)

    async def sift(self, queue: str, log: Log, found: Sequence[Entry]) -> list[Entry]:
        """Those that may be delivered. The others had their last delivery from a proxy that died."""
        if all(entry.deliveries == 1 for entry in found):
            return list(found)
        target = await self.target(queue, log)
        alive = []
        for entry in found:
            if not target.max_receives or entry.deliveries <= target.max_receives:
                alive.append(entry)
                continue
            reason = self._queues.settler.reason(log, entry.sequence) or "received too often"
            await self.bury(queue, log, entry.sequence, entry.deliveries - 1, reason, target.queue)
            await self._queues.js.tell_all([(entry.reply, TERM)])
        return alive

    async def bury(self, queue: str, log: Log, sequence: int, deliveries: int, reason: str, target: str) -> None:
        """Store a message with the dead letters, once, whoever tries it how often."""
        kept = await self._queues.js.message(log.stream, seq=sequence)
        if kept is None:
            return
        message = messages.stored(*kept)
        headers = {**message.headers, SOURCE_HEADER: queue, ERROR_HEADER: _line(reason),
                   RETRIES_HEADER: str(deliveries)}
        await self._store(target, message, headers, f"dead.{log.stream}.{sequence}")

    async def redrive(
        self, queue: str, matching: Mapping[str, str], limit: int, cursor: bytes | None, *, dry_run: bool
    ) -> Redriven:
        source = await self._queues.found((await self.describe(queue)).queue)
        if source is None:
            return Redriven(0, 0, None)
        hidden = self._queues.settler.leases.sequences(source)
        moved = skipped = looked = last = 0
        page = [(headers, data) async for headers, data in self._queues.js.messages(
            source.stream, limit, seq=int(cursor or b"0") + 1, next_by_subj=source.subject.decode())]
        for headers, data in page:
            looked, last = looked + 1, messages.sequence(headers)
            if last in hidden:
                continue
            message = messages.stored(headers, data)
            wanted = message.headers.get(SOURCE_HEADER) == queue and all(
                message.headers.get(name) == value for name, value in matching.items())
            if wanted and (dry_run or await self._bring_back(queue, source, last, message)):
                moved += 1
            else:
                skipped += 1
        return Redriven(moved, skipped, b"%d" % last if looked == limit else None)

    async def _bring_back(self, queue: str, source: Log, sequence: int, message: QueuedMessage) -> bool:
        """Move a dead letter to where it came from. False when somebody else did."""
        headers = {name: value for name, value in message.headers.items() if name not in _DEAD_HEADERS}
        await self._store(queue, message, headers, f"redrive.{source.stream}.{sequence}")
        return await self._queues.js.delete_message(source.stream, sequence)

    async def _store(self, queue: str, message: QueuedMessage, headers: Mapping[str, str], once: str) -> None:
        [result] = await self._queues.enqueue(queue, [QueueItem(StoredMessage(
            message.message_id, message.data, headers, message.enqueued_ms, deduplication_id=once))])
        if isinstance(result, PrismError):
            raise result


def _line(text: str) -> str:
    """A reason as the value of a header."""
    return " ".join(text.split())
