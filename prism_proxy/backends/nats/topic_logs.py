"""Topics with logs: a stream of JetStream that keeps what is published to the subject of the topic, by whomever.

Live subscribers are served by core NATS all the same. A durable subscription reads the log from its position on.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import OrderedDict

from prism_proxy._native.nats.connection import NatsClosed, NatsDenied
from prism_proxy.backends.nats import headers as wire
from prism_proxy.backends.nats import queue_messages as messages
from prism_proxy.backends.nats.client import Channel
from prism_proxy.backends.nats.errors import ApiError, NoAnswer, NoResponders, meaning
from prism_proxy.backends.nats.jetstream import Stored
from prism_proxy.backends.nats.log_reader import LogReader
from prism_proxy.backends.nats.logs import Limits, Log, Logs, lifetime, renewing
from prism_proxy.backends.nats.positions import Positions
from prism_proxy.backends.nats.pull import Entry
from prism_proxy.backends.nats.streams import rfc3339
from prism_proxy.backends.nats.topics import LIVE, NatsTopics
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.messages import Carrier, Delivery, DeliveryClass, Sink, StoredMessage, Traits
from prism_proxy.models.messaging_errors import durable_not_found, message_not_found, subscriber_replaced
from prism_proxy.models.pubsub.contract import DurableSubscription, LastMessage, Published, PubSubSettings

KIND = "topic"
PAGE = 500
REMEMBERED = 65_536  # where messages are that went through this process
EARLY_MS, LATE_MS = 2_000, 60_000  # between the clock in a message's id and the server's, when it was stored
SETTLE_S = 0.05
LET_GO = b"let go"  # said to who has a durable subscription open: its position is set by somebody else
_PASSING = (NatsClosed, NatsDenied, NoAnswer, NoResponders, ApiError, PrismError)


class NatsTopicLogs(NatsTopics):
    """`logged` is the class of what JetStream stored."""

    def __init__(self, logs: Logs, logged: DeliveryClass) -> None:
        super().__init__(logs.names, logs.js.client, lambda: logs.js.client().max_payload if logs.js.is_open else 0)
        self.logs = logs
        self.positions = Positions(logs)
        self._logged = logged
        self._settings = PubSubSettings()
        self._places: OrderedDict[tuple[str, str], int] = OrderedDict()

    @property
    def traits(self) -> Traits:
        return Traits(Carrier.HEADERS, LIVE, self._limit(), lossy=True, durable=self._logged)

    def configure(self, settings: PubSubSettings) -> None:
        self._settings = settings

    # --- publishing ---------------------------------------------------------------------------------------------------

    @renewing
    async def publish_persistent(self, topic: str, message: StoredMessage) -> Published:
        log = await self._made(topic)
        try:
            stored = await self.logs.js.publish(log.subject, wire.to_wire(
                message, *lifetime(log, message), stored=True), message.data)
        except (NoAnswer, NoResponders):
            self.logs.forget(log)  # somebody may have removed it, of which live subscribers keep us from hearing
            raise
        if stored.duplicate:
            return await self._first(log, stored, message)
        self.remember(log, message.message_id, stored.sequence)
        return Published(message.message_id, stored.sequence)

    async def publish_ordered(self, topic: str, ordering_key: str, message: StoredMessage) -> Published:
        """A topic has one sequence, and so has each of its keys."""
        return await self.publish_persistent(topic, message)

    async def _first(self, log: Log, stored: Stored, message: StoredMessage) -> Published:
        kept = await self.logs.js.message(log.stream, seq=stored.sequence)
        first = messages.message_id(kept[0]) if kept is not None else ""
        return Published(first or message.message_id, stored.sequence)

    # --- durable subscriptions ----------------------------------------------------------------------------------------

    @renewing
    async def subscribe_durable(self, subscription: DurableSubscription, sink: Sink[Delivery]) -> DurableSubscriber:
        log = await self._made(subscription.topic)
        made = DurableSubscriber(self, log, subscription, sink)
        await made.open()
        return made

    async def start(self, log: Log, wanted: DurableSubscription) -> int:
        """The first sequence that a subscription gets. A new name has a position from now on."""
        stored = await self.positions.read(wanted.topic, wanted.durable_name)
        if wanted.after:
            begin = int.from_bytes(wanted.after) + 1
        elif wanted.from_message_id:
            begin = await self._at_message(log, wanted.from_message_id)
        elif stored is not None:
            begin = stored.sequence + 1
        elif wanted.from_ms is not None:
            begin = await self._at_time(log, wanted.from_ms)
        else:
            begin = await self._end(log)
        begin = min(begin, await self._end(log))  # the log may have been removed, and begun anew
        if stored is None:
            await self.positions.move(wanted.topic, wanted.durable_name, max(0, begin - 1))
        return begin

    @renewing
    async def ack_durable(self, topic: str, durable_name: str, message_id: str) -> None:
        log = await self.found(topic)
        if log is None or await self.positions.read(topic, durable_name) is None:
            raise durable_not_found(topic, durable_name)
        sequence = await self._place(log, message_id)
        if sequence is None:
            raise message_not_found(topic, message_id)
        await self.positions.move(topic, durable_name, sequence)

    @renewing
    async def last_message(self, topic: str) -> LastMessage:
        log = await self.found(topic)
        found = await self.logs.js.message(log.stream, last_by_subj=log.subject.decode()) if log is not None else None
        if found is None:
            return LastMessage("", 0)
        return LastMessage(messages.message_id(found[0]), messages.sequence(found[0]))

    # --- where messages are -------------------------------------------------------------------------------------------

    def remember(self, log: Log, message_id: str, sequence: int) -> None:
        if message_id:
            self._places[log.stream, message_id] = sequence
            if len(self._places) > REMEMBERED:
                self._places.popitem(last=False)

    async def _place(self, log: Log, message_id: str) -> int | None:
        """The sequence of a message, looked for about the time that its id names."""
        known = self._places.get((log.stream, message_id))
        if known is not None:
            return known
        made_ms = _time_of(message_id)
        at = 1 if made_ms is None else await self._at_time(log, made_ms - EARLY_MS)
        while True:
            last = 0
            async for headers, _ in self.logs.js.messages(
                    log.stream, PAGE, seq=at, next_by_subj=log.subject.decode()):
                last = messages.sequence(headers)
                if messages.message_id(headers) == message_id:
                    return last
                if made_ms is not None and messages.timestamp_ms(headers) > made_ms + LATE_MS:
                    return None
            if not last:
                return None
            at = last + 1

    async def _at_message(self, log: Log, message_id: str) -> int:
        found = await self._place(log, message_id)
        if found is not None:
            return found
        made_ms = _time_of(message_id)
        return await self._end(log) if made_ms is None else await self._at_time(log, made_ms)

    async def _at_time(self, log: Log, epoch_ms: int) -> int:
        """The first sequence not older; the next one when there is none."""
        found = await self.logs.js.message(log.stream, start_time=rfc3339(max(0, epoch_ms)),
                                           next_by_subj=log.subject.decode())
        return messages.sequence(found[0]) if found is not None else await self._end(log)

    async def _end(self, log: Log) -> int:
        return int((await self.logs.js.stream_info(log.stream))["state"]["last_seq"]) + 1

    async def _made(self, topic: str) -> Log:
        settings = self._settings
        limits = Limits(settings.log_max_age_s, settings.log_max_bytes, settings.log_max_messages)
        found = await self.logs.make(KIND, topic, self._names.topic(topic).decode(), limits)
        if found is None:
            raise PrismError(StatusCode.NOT_FOUND, "TOPIC_LOG_NOT_FOUND",
                             f"topic {topic!r} has no log, and the settings (create: false) do not let it be made",
                             {"outcome": "not_executed"}, field_name="topic")
        return found

    async def found(self, topic: str) -> Log | None:
        return await self.logs.find(KIND, topic, self._names.topic(topic).decode())


class DurableSubscriber:
    """A reader of the log from a position on, and what moves that position."""

    def __init__(
        self, topics: NatsTopicLogs, log: Log, subscription: DurableSubscription, sink: Sink[Delivery]
    ) -> None:
        self._topics = topics
        self._log = log
        self._wanted = subscription
        self._sink = sink
        self._mark = uuid.uuid4().hex.encode()
        self._channel: Channel | None = None
        self._reader: LogReader | None = None
        self._settles = True
        self._settled = self._written = 0
        self._writing: asyncio.Task[None] | None = None
        self.room = sink.room
        self.end = sink.end

    async def open(self) -> None:
        """An earlier subscriber of the name, here or elsewhere, ends."""
        topics, wanted = self._topics, self._wanted
        client = topics.logs.js.client()
        control = topics.logs.names.control("durable", wanted.topic, wanted.durable_name).encode()
        self._channel = await client.subscribe(control, self)
        connection = client.usable()
        connection.publish(control, None, None, self._mark)
        await connection.confirm()
        start = await topics.start(self._log, wanted)
        self._reader = LogReader(topics.logs.js, lambda: topics.found(wanted.topic), start, self)
        await self._reader.opened()

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        if self._channel is not None and self._topics.logs.js.is_open:
            self._topics.logs.js.client().unsubscribe(self._channel, self)
        self._channel = None
        if self._writing is not None:
            await asyncio.wait({self._writing})
        with contextlib.suppress(*_PASSING):
            await self._write()

    # --- as a listener of control, and as a receiver of the reader ----------------------------------------------------

    def received(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        """Somebody subscribed by this name, or sets its position."""
        self._settles = self._settles and data != LET_GO
        if data != self._mark and self._reader is not None:
            self._sink.end(subscriber_replaced(self._wanted.durable_name))

    def interrupted(self, why: str) -> None:
        """The reader goes on where it was: nothing is missing."""

    def denied(self, error: NatsDenied) -> None:
        self._sink.end(meaning(error))

    @property
    def credit(self) -> int:
        return self._sink.credit

    def push(self, entry: Entry) -> bool:
        found = wire.from_wire(entry.headers)
        message_id = wire.message_id_of(found, entry.headers)
        self._topics.remember(self._log, message_id, entry.sequence)
        return self._sink.push(Delivery(
            self._wanted.topic, entry.data, found, message_id, entry.timestamp_ms, entry.sequence.to_bytes(8)))

    # --- the position -------------------------------------------------------------------------------------------------

    async def settle(self, position: bytes) -> None:
        self._settled = max(self._settled, int.from_bytes(position))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_soon())

    async def _write_soon(self) -> None:
        await asyncio.sleep(SETTLE_S)
        self._writing = None
        with contextlib.suppress(*_PASSING):  # with the next one, or not: then some messages come again
            await self._write()

    async def _write(self) -> None:
        settled = self._settled
        if self._settles and settled > self._written:
            await self._topics.positions.move(self._wanted.topic, self._wanted.durable_name, settled)
            self._written = max(self._written, settled)


def _time_of(message_id: str) -> int | None:
    """The epoch milliseconds within a UUID of version 7; None for other ids."""
    try:
        found = uuid.UUID(message_id)
    except ValueError:
        return None
    return found.int >> 80 if found.version == 7 else None
