"""Queues over JetStream: a stream for each that loses what is acknowledged, and one consumer that all proxies ask.

    ready --fetch--> leased --DONE--> gone
      ^                 |---RETRY, the end of the lease---> ready, or dead letters when it was received too often
      '--schedule-- delayed messages, each under a subject of its own until the server moves it
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from prism_proxy.backends.nats import queue_messages as messages
from prism_proxy.backends.nats.dead_letters import DeadLetterQueues
from prism_proxy.backends.nats.errors import ApiError, NoResponders, meaning
from prism_proxy.backends.nats.jetstream import JetStream, Stored
from prism_proxy.backends.nats.logs import NANO, Limits, Log, Logs, renewing
from prism_proxy.backends.nats.pull import ACK, Entry
from prism_proxy.backends.nats.queue_fetch import fetch
from prism_proxy.backends.nats.settling import Settler
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.messages import Carrier, DeliveryClass, Traits
from prism_proxy.models.messaging_errors import receipt_expired
from prism_proxy.models.queue.contract import (
    Counts,
    DeadLetters,
    QueuedMessage,
    QueueItem,
    QueueSettings,
    Redriven,
    Scheduled,
    Settlement,
)

KIND, CONSUMER = "queue", "prism"
MOST_WAITING = 8192  # calls that wait at the server for one queue
DELAYS_SINCE = (2, 12)
LOOK_S = 0.1  # between two looks for a queue that is not there yet
PEEK_MARGIN = 256


class NatsQueues:
    def __init__(self, js: JetStream, logs: Logs, delivery: DeliveryClass) -> None:
        self.js = js
        self.logs = logs
        self.settings = QueueSettings()
        self._delivery = delivery
        self._consumers: set[tuple[str, float]] = set()
        self._first_ids = messages.FirstIds()
        self.dead = DeadLetterQueues(self)
        self.settler = Settler(self, uuid.uuid4().hex[:12])
        logs.forgotten.append(self._consumers.clear)

    @property
    def traits(self) -> Traits:
        limit = self.js.client().max_payload if self.js.is_open else 0
        return Traits(Carrier.HEADERS, self._delivery, limit)

    def configure(self, settings: QueueSettings) -> None:
        self.settings = settings

    async def close(self) -> None:
        await self.settler.close()

    # --- queue_basic --------------------------------------------------------------------------------------------------

    @renewing
    async def enqueue(self, queue: str, items: Sequence[QueueItem]) -> list[str | PrismError]:
        log = await self.made(queue)
        found = await self._publish(queue, log, items)
        if all(isinstance(item, NoResponders) for item in found) and found:
            raise NoResponders("the stream is gone, or has no leader")
        results: list[str | PrismError] = []
        for item, stored in zip(items, found, strict=True):
            results.append(await self._answer(log, item, stored))
        return results

    async def _publish(self, queue: str, log: Log, items: Sequence[QueueItem]) -> list[Stored | Exception]:
        now, names = int(time.time() * 1000), self.logs.names
        delayed = [item for item in items if item.deliver_at_ms > now]
        if delayed and self.js.client().version < DELAYS_SINCE:
            raise PrismError(StatusCode.UNIMPLEMENTED, "DELAYS_NOT_SUPPORTED",
                             "delays need nats-server 2.12 or later, whose schedules keep the messages: update it",
                             {"outcome": "not_executed"}, field_name="deliver_at")
        return await self.js.publish_all([
            messages.delayed(log, names.later(queue), item, now) if item.deliver_at_ms > now
            else messages.ready(log, item) for item in items])

    async def _answer(self, log: Log, item: QueueItem, stored: Stored | Exception) -> str | PrismError:
        if isinstance(stored, Exception):
            told = stored if isinstance(stored, PrismError) else meaning(stored)
            if told is None:
                raise stored
            return told
        key = log.stream, item.message.deduplication_id
        if not stored.duplicate:
            if item.message.deduplication_id:
                self._first_ids.add(key, item.message.message_id)
            return item.message.message_id
        first = self._first_ids.get(key)
        if first is None:
            kept = await self.js.message(log.stream, seq=stored.sequence)
            first = messages.message_id(kept[0]) if kept is not None else ""
        return first or item.message.message_id

    async def take(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        entries = await self._fetched(queue, count, wait_s)
        if not entries:
            return []
        try:
            await self.js.tell_all([(entry.reply, ACK) for entry in entries])
        except asyncio.CancelledError:
            self.settler.give_back([entry.reply for entry in entries])
            raise
        return [messages.queued(entry) for entry in entries]

    @renewing
    async def peek(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        until = time.monotonic() + wait_s
        while True:
            found = await self._peeked(queue, count)
            if found or time.monotonic() >= until:
                return found
            await asyncio.sleep(LOOK_S)

    async def _peeked(self, queue: str, count: int) -> list[QueuedMessage]:
        log = await self.found(queue)
        if log is None:
            return []
        info = await self._consumer_info(log)
        hidden = self.settler.leases.sequences(log)
        delivered = int(info["delivered"]["stream_seq"])
        found: list[QueuedMessage] = []
        async for headers, data in self.js.messages(
                log.stream, count + len(hidden) + PEEK_MARGIN, seq=1, next_by_subj=log.subject.decode()):
            sequence = messages.sequence(headers)
            if sequence in hidden or (sequence <= delivered and not self.settler.is_returned(log, sequence)):
                continue
            found.append(messages.stored(headers, data))
            if len(found) == count:
                break
        return found

    @renewing
    async def counts(self, queue: str) -> Counts:
        log = await self.found(queue)
        if log is None:
            return Counts(0, 0, 0, 0)
        ready_subject = log.subject.decode()
        subjects = await self._subjects(log)
        info = await self._consumer_info(log)
        returned = self.settler.returned(log, int(info["ack_floor"]["stream_seq"]))
        in_flight = max(0, min(int(info["num_ack_pending"]), subjects.get(ready_subject, 0)) - returned)
        ready = subjects.get(ready_subject, 0) - in_flight
        scheduled = sum(count for subject, count in subjects.items() if subject != ready_subject)
        oldest = (await self._peeked(queue, 1))[:1] if ready else []
        return Counts(ready, in_flight, scheduled, oldest[0].enqueued_ms if oldest else 0)

    async def queues(self, limit: int) -> Sequence[str]:
        return await self.logs.names_of(self.logs.names.queue("x")[:-1], limit, filled=True)

    @renewing
    async def purge(self, queue: str) -> int:
        log = await self.found(queue)
        if log is None:
            return 0
        self.settler.forget(log)
        return await self.logs.purge(log)

    # --- queue_visibility ---------------------------------------------------------------------------------------------

    async def lease(self, queue: str, count: int, visibility_s: float, wait_s: float) -> list[QueuedMessage]:
        await self.settler.listen()
        entries = await self._fetched(queue, count, wait_s)
        log = await self.found(queue)
        if log is None:
            return []
        leases = self.settler.leases
        return [messages.queued(entry, leases.add(queue, log, entry, visibility_s, self.settings.visibility_s))
                for entry in entries]

    async def extend(self, queue: str, receipt: str, seconds: float) -> None:
        if not await self.settler.extend(queue, receipt, seconds):
            raise receipt_expired()

    async def settle(self, queue: str, receipts: Sequence[str], settlement: Settlement) -> list[PrismError | None]:
        done = await self.settler.settle(queue, receipts, settlement)
        return [None if each else receipt_expired() for each in done]

    # --- queue_delayed, queue_dead_letter -----------------------------------------------------------------------------

    @renewing
    async def scheduled(self, queue: str) -> Scheduled:
        log = await self.found(queue)
        if log is None:
            return Scheduled(0, 0)
        waiting = {subject: count for subject, count in (await self._subjects(log)).items()
                   if subject != log.subject.decode()}
        return Scheduled(sum(waiting.values()), min(map(messages.due_ms, waiting), default=0))

    @renewing
    async def configure_dead_letter(self, queue: str, dead_letter_queue: str, max_receives: int) -> None:
        await self.dead.configure(queue, dead_letter_queue, max_receives)

    @renewing
    async def dead_letters(self, queue: str) -> DeadLetters:
        return await self.dead.describe(queue)

    @renewing
    async def redrive(
        self, queue: str, matching: Mapping[str, str], limit: int, cursor: bytes | None, *, dry_run: bool
    ) -> Redriven:
        return await self.dead.redrive(queue, matching, limit, cursor, dry_run=dry_run)

    # --- what JetStream has -------------------------------------------------------------------------------------------

    async def made(self, queue: str) -> Log:
        """QUEUE_NOT_FOUND where the settings do not let it be made."""
        names = self.logs.names
        more: dict[str, Any] = {"retention": "workqueue"}
        if self.js.client().version >= DELAYS_SINCE:
            more |= {"allow_msg_schedules": True, "more_subjects": [f"{names.later(queue)}.*.*"]}
        log = await self.logs.make(KIND, queue, names.queue(queue), Limits(), more)
        if log is None:
            raise PrismError(StatusCode.NOT_FOUND, "QUEUE_NOT_FOUND",
                             f"there is no queue {queue!r}, and the settings (create: false) do not let it be made",
                             {"outcome": "not_executed"}, field_name="queue")
        await self._consumer(log)
        return log

    async def found(self, queue: str) -> Log | None:
        return await self.logs.find(KIND, queue, self.logs.names.queue(queue))

    async def _consumer(self, log: Log) -> None:
        """Have the consumer, with the AckWait of the settings."""
        key = log.stream, self.settings.visibility_s
        if key not in self._consumers:
            await self.js.make_consumer(log.stream, CONSUMER, {
                "durable_name": CONSUMER, "ack_policy": "explicit", "ack_wait": int(self.settings.visibility_s * NANO),
                "max_deliver": -1, "max_ack_pending": -1, "max_waiting": MOST_WAITING,
                "filter_subject": log.subject.decode()})
            self._consumers.add(key)

    async def _consumer_info(self, log: Log) -> dict[str, Any]:
        await self._consumer(log)
        return await self.js.consumer_info(log.stream, CONSUMER)

    async def _subjects(self, log: Log) -> dict[str, int]:
        """Messages of the queue by subject: the ready and leased ones, and each that is delayed."""
        state = (await self.js.stream_info(log.stream, subjects_filter=">"))["state"]
        return {str(subject): int(count) for subject, count in (state.get("subjects") or {}).items()}

    async def _fetched(self, queue: str, count: int, wait_s: float) -> list[Entry]:
        """Messages that were received so often that they are dead go there, and are not among them."""
        until = time.monotonic() + wait_s
        while True:
            log = await self.found(queue)
            fetched = False
            if log is not None:
                try:
                    await self._consumer(log)
                    found = await fetch(self.js, log.stream, CONSUMER, count, max(0.0, until - time.monotonic()))
                    fetched = True
                except ApiError as error:
                    if error.code != 404:
                        raise
                    self.logs.forget(log)
                    self._consumers.difference_update([key for key in self._consumers if key[0] == log.stream])
                    found = []
                for entry in found:
                    self.settler.seen(log, entry.sequence)
                alive = await self.dead.sift(queue, log, found)
                if alive:
                    return alive
            left = until - time.monotonic()
            if left <= 0:
                return []
            if not fetched:
                await asyncio.sleep(min(left, LOOK_S))
