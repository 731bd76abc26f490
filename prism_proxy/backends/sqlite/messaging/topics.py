"""Topics of a SQLite namespace: `models.pubsub.contract`, all of it.

A topic without a log lives in this process alone, and its messages are gone when nobody is there. One with a log has
every message in the file before it reaches a live subscriber.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial

from prism_proxy.backends.sqlite.messaging import log_rows
from prism_proxy.backends.sqlite.messaging.arrivals import Arrivals
from prism_proxy.backends.sqlite.messaging.durable import Durable
from prism_proxy.backends.sqlite.messaging.live import Live
from prism_proxy.backends.sqlite.messaging.log_rows import Part, Stored
from prism_proxy.backends.sqlite.messaging.reading import LogReader, Reading
from prism_proxy.backends.sqlite.operations import Session
from prism_proxy.backends.sqlite.readers import Readers
from prism_proxy.backends.sqlite.writer import Writer
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import DEDUPLICATION_SECONDS, Active, Delivery, Sink, StoredMessage, Traits
from prism_proxy.models.messaging_errors import durable_not_found, message_not_found
from prism_proxy.models.pubsub.contract import (
    DurableActive,
    DurableSubscription,
    LastMessage,
    Published,
    PubSubSettings,
    Subscription,
)
from prism_proxy.models.stream.contract import NewRecord, Retention

MESSAGE_BYTES = 128  # of the writer's queue, for what a message costs beside its data
REMEMBERED = 100_000  # deduplication ids of topics without a log
KIND: log_rows.Kind = "topic"


class SqliteTopics:
    """Implements `models.pubsub.contract.PubSubDriver`."""

    def __init__(self, writer: Writer, readers: Readers, now_ms: Callable[[], int], traits: Traits) -> None:
        self.traits = traits
        self._writer = writer
        self._readers = readers
        self._now_ms = now_ms
        self._settings = PubSubSettings()
        self._live = Live()
        self._arrivals = Arrivals()
        self._reader = LogReader(readers, self._arrivals, now_ms)
        self._logged: set[str] | None = None  # topics with a log, once the file was asked
        self._seen: OrderedDict[tuple[str, str], tuple[str, int]] = OrderedDict()
        self._durables: dict[tuple[str, str], Durable] = {}

    def configure(self, settings: PubSubSettings) -> None:
        self._settings = settings

    async def close(self) -> None:
        for durable in list(self._durables.values()):
            await durable.close()

    async def keep_up(self) -> None:
        """Called every now and then."""
        bounds = Retention(
            self._settings.log_max_age_s, self._settings.log_max_bytes, self._settings.log_max_messages)
        if await self._readers.run(partial(
                log_rows.exceeds, kind=KIND, defaults=bounds, now_ms=self._now_ms())):
            await self._writer.submit(
                partial(log_rows.retain, kind=KIND, defaults=bounds), MESSAGE_BYTES, frees=True, upkeep=True)

    # --- publishing ---------------------------------------------------------------------------------------------------

    async def publish(self, topic: str, message: StoredMessage) -> Published:
        if topic in await self._topics_with_log():
            return await self.publish_persistent(topic, message)
        first = self._first_of(topic, message)
        if first is not None:
            return Published(first)
        return Published(message.message_id, 0, await self._live.deliver(_live_delivery(topic, message)))

    async def publish_persistent(self, topic: str, message: StoredMessage) -> Published:
        (result,) = await self._store([(topic, message)])
        return await self._deliver_stored(topic, message, *result)

    async def publish_ordered(self, topic: str, ordering_key: str, message: StoredMessage) -> Published:
        """A topic's log has one partition, so that all of its messages are in order."""
        return await self.publish_persistent(topic, message)

    async def publish_batch(self, items: Sequence[tuple[str, StoredMessage]]) -> list[Published | PrismError]:
        logged = await self._topics_with_log()
        stored = iter(await self._store([item for item in items if item[0] in logged]))
        results: list[Published | PrismError] = []
        for topic, message in items:
            try:
                if topic in logged:
                    results.append(await self._deliver_stored(topic, message, *next(stored)))
                else:
                    results.append(await self.publish(topic, message))
            except PrismError as error:
                results.append(error)
        return results

    async def _store(self, items: Sequence[tuple[str, StoredMessage]]) -> list[tuple[int, str]]:
        """All in one transaction; the offset of each, and its message id or that of the first one."""
        if not items:
            return []
        results = await self._writer.submit(
            partial(_append_all, items=items), sum(len(message.data) + MESSAGE_BYTES for _, message in items))
        topics = {topic for topic, _ in items}
        if self._logged is not None:
            self._logged |= topics
        self._arrivals.tell(topics)
        return results

    async def _deliver_stored(self, topic: str, message: StoredMessage, offset: int, message_id: str) -> Published:
        if message_id != message.message_id:
            return Published(message_id, offset + 1)
        return Published(message_id, offset + 1, await self._live.deliver(_live_delivery(topic, message)))

    def _first_of(self, topic: str, message: StoredMessage) -> str | None:
        """The id of the first message with this deduplication id, where no log remembers it."""
        if not message.deduplication_id:
            return None
        now = self._now_ms()
        key = (topic, message.deduplication_id)
        first, until = self._seen.get(key, ("", 0))
        if until > now:
            return first
        self._seen[key] = (message.message_id, now + int(DEDUPLICATION_SECONDS * 1000))
        self._seen.move_to_end(key)
        while len(self._seen) > REMEMBERED or next(iter(self._seen.values()))[1] <= now:
            self._seen.popitem(last=False)
        return None

    async def _topics_with_log(self) -> set[str]:
        if self._logged is None:
            self._logged = await self._readers.run(_topic_names)
        return self._logged

    # --- subscribing --------------------------------------------------------------------------------------------------

    async def subscribe(self, subscription: Subscription, sink: Sink[Delivery]) -> Active:
        return self._live.subscribe(subscription, sink)

    async def subscribe_durable(self, subscription: DurableSubscription, sink: Sink[Delivery]) -> DurableActive:
        topic, name = subscription.topic, subscription.durable_name
        earlier = self._durables.get((topic, name))
        if earlier is not None:
            await earlier.replace()
        part, start = await self._writer.submit(partial(_begin_durable, wanted=subscription), MESSAGE_BYTES)
        (await self._topics_with_log()).add(topic)

        async def store(offset: int) -> None:
            await self._writer.submit(partial(_move, topic=topic, name=name, offset=offset), MESSAGE_BYTES)

        def leave(durable: Durable) -> None:
            if self._durables.get((topic, name)) is durable:
                del self._durables[topic, name]

        durable = self._durables[topic, name] = Durable(
            name, Reading(self._log(topic, part, start, sink), sink), sink, store, leave)
        return durable

    async def _log(
        self, topic: str, part: Part, start: int, sink: Sink[Delivery],
    ) -> AsyncGenerator[Delivery, None]:
        async for record in self._reader.records(topic, [(part, start, None)], sink.missed):
            yield Delivery(topic, record.data, record.headers, record.message_id, record.timestamp_ms,
                           b"%d" % record.offset)

    async def ack_durable(self, topic: str, durable_name: str, message_id: str) -> None:
        def settle(session: Session) -> None:
            log = log_rows.find_log(session.connection, KIND, topic)
            if log is None or not log_rows.positions(session.connection, log.id, durable_name):
                raise durable_not_found(topic, durable_name)
            (part,) = log_rows.parts_of(session.connection, log.id)
            offset = log_rows.find_message(session.connection, part, message_id)
            if offset is None:
                raise message_not_found(topic, message_id)
            _move(session, topic, durable_name, offset + 1)

        await self._writer.submit(settle, MESSAGE_BYTES)

    async def last_message(self, topic: str) -> LastMessage:
        return await self._readers.run(partial(_last, topic=topic))


def _live_delivery(topic: str, message: StoredMessage) -> Delivery:
    return Delivery(topic, message.data, message.headers, message.message_id, message.published_ms)


def _append_all(session: Session, items: Sequence[tuple[str, StoredMessage]]) -> list[tuple[int, str]]:
    results: list[tuple[int, str]] = []
    start = 0
    for index in range(1, len(items) + 1):  # runs of one topic are appended together
        if index == len(items) or items[index][0] != items[start][0]:
            records = [NewRecord(b"", message) for _, message in items[start:index]]
            results += log_rows.append(session, KIND, items[start][0], records)
            start = index
    return results


def _topic_names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM log WHERE kind = ?", (KIND,))}


def _begin_durable(session: Session, wanted: DurableSubscription) -> tuple[Part, int]:
    """Where it starts. The name is known from then on, and so the log is."""
    log = log_rows.the_log(session, KIND, wanted.topic)
    (part,) = log_rows.parts_of(session.connection, log.id)
    stored = log_rows.positions(session.connection, log.id, wanted.durable_name).get(0)
    if wanted.after:
        start = int(wanted.after) + 1
    elif wanted.from_message_id:
        found = log_rows.find_message(session.connection, part, wanted.from_message_id)
        start = found if found is not None else log_rows.at_time(
            session.connection, part, _time_of(wanted.from_message_id))
    elif stored is not None:
        start = stored.next
    elif wanted.from_ms is not None:
        start = log_rows.at_time(session.connection, part, wanted.from_ms)
    else:
        start = part.next
    if stored is None:
        log_rows.set_position(session, log.id, wanted.durable_name, 0, Stored(start, start, ()))
    return part, start


def _move(session: Session, topic: str, name: str, offset: int) -> None:
    """The stored position, forwards only."""
    session.connection.execute(
        "UPDATE position SET next = max(next, ?) WHERE name = ? AND number = 0"
        " AND log = (SELECT id FROM log WHERE kind = ? AND name = ?)", (offset, name, KIND, topic))


def _last(connection: sqlite3.Connection, topic: str) -> LastMessage:
    log = log_rows.find_log(connection, KIND, topic)
    if log is None:
        return LastMessage("", 0)
    (part,) = log_rows.parts_of(connection, log.id)
    row = connection.execute("SELECT id, message_id FROM record WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1", (
        part.base + part.first, part.base + part.next)).fetchone()
    return LastMessage("", 0) if row is None else LastMessage(row[1], row[0] - part.base + 1)


def _time_of(message_id: str) -> int:
    """Epoch milliseconds that a UUID v7 begins with; 0 of any other text."""
    try:
        found = uuid.UUID(message_id)
    except ValueError:
        return 0
    return found.int >> 80 if found.version == 7 else 0
