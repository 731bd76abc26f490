"""Topics over core NATS: at most once, to those who are there.

A publish is acknowledged by the PONG of a PING behind it, which all publishes in flight share: by then the server has
taken it, or has said that it may not. Live messages of topics with a log travel in the same way; JetStream stores them
by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prism_proxy._native.nats.connection import NatsConnection, NatsDenied
from prism_proxy.backends.nats import headers as wire
from prism_proxy.backends.nats.client import Channel, NatsClient
from prism_proxy.backends.nats.errors import meaning
from prism_proxy.backends.nats.names import Names, token
from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.models.messages import (
    Carrier,
    Delivery,
    DeliveryClass,
    Guarantee,
    Sink,
    StoredMessage,
    Traits,
)
from prism_proxy.models.pubsub.contract import NativePublishing, Published, PubSubSettings, Subscription

if TYPE_CHECKING:
    from prism_proxy._native.pubsub.nats import NatsPublisher, NatsTopic

LIVE = DeliveryClass(
    Guarantee.AT_MOST_ONCE, "what is on its way", "what is on its way", "arrival",
    ("Who does not listen when a message is published does not get it.", "A lost connection is counted as a gap."))
_ROOM_EVERY = 64  # messages of a batch, between two looks at how much waits for the server


class NatsTopics:
    """`client` raises NatsClosed while the driver is not open."""

    def __init__(self, names: Names, client: Callable[[], NatsClient], limit: Callable[[], int]) -> None:
        self._names = names
        self._client = client
        self._limit = limit
        self._deliveries = Deliveries(names)
        self.native_store = Subjects(names, client)

    @property
    def traits(self) -> Traits:
        return Traits(Carrier.HEADERS, LIVE, self._limit(), lossy=True)

    def configure(self, settings: PubSubSettings) -> None:
        """Core NATS keeps no log of a topic: there is nothing to bound."""

    async def publish(self, topic: str, message: StoredMessage) -> Published:
        connection = await self._client().room()
        subject = self._names.topic(topic)
        send(connection, subject, wire.to_wire(message), message.data)
        await connection.confirm(subject)
        return Published(message.message_id)

    async def publish_batch(self, items: Sequence[tuple[str, StoredMessage]]) -> list[Published | PrismError]:
        results: list[Published | PrismError] = []
        confirmed: dict[bytes, asyncio.Future[None]] = {}
        subjects = [self._names.topic(topic) for topic, _ in items]
        client = self._client()
        connection = await client.room()
        for subject, (_, message) in zip(subjects, items, strict=True):
            if len(results) % _ROOM_EVERY == _ROOM_EVERY - 1:
                await client.room()
            try:
                send(connection, subject, wire.to_wire(message), message.data)
                results.append(Published(message.message_id))
            except PrismError as error:
                results.append(error)
        for subject in subjects:
            if subject not in confirmed:
                confirmed[subject] = connection.confirm(subject)
        await asyncio.gather(*confirmed.values(), return_exceptions=True)
        for at, subject in enumerate(subjects):
            raised = confirmed[subject].exception()
            if raised is not None and isinstance(results[at], Published):
                told = meaning(raised) if isinstance(raised, Exception) else None
                if told is None:
                    raise raised
                results[at] = told
        return results

    async def subscribe(self, subscription: Subscription, sink: Sink[Delivery]) -> Subscriber:
        if not self._names.prefix and subscription.topic[0] in "*>":
            raise invalid("pattern", "pattern begins with a wildcard, and the namespace has an empty prefix: it would "
                          "cover what the NATS server keeps for itself", value=subscription.topic)
        client = self._client()
        subscriber = Subscriber(self._deliveries, client, sink)
        group = token(subscription.queue_group).encode() if subscription.queue_group else None
        subscriber.channel = await client.subscribe(self._names.topic(subscription.topic), subscriber, group)
        return subscriber


class Subjects:
    """What native code publishes by."""

    def __init__(self, names: Names, client: Callable[[], NatsClient]) -> None:
        self._names = names
        self._client = client

    def publisher(self, wanted: NativePublishing) -> NatsPublisher | None:
        """None where headers say more of a message than native code knows."""
        if wanted.declared is not None:
            return None
        from prism_proxy._native.envelope.codec import Writer
        from prism_proxy._native.pubsub.nats import NatsPublisher, NatsTopic
        from prism_proxy.models import names
        from prism_proxy.models.messages import NAMESPACE_HEADER, TOPIC_HEADER, VERSION_HEADER

        def topic(name: str) -> list[NatsTopic]:
            name = names.topic(name)
            beside = (VERSION_HEADER, "1") if wanted.wraps else (NAMESPACE_HEADER, wanted.namespace)
            said = b"".join(b"%b: %b\r\n" % (wire.wire_name(key), value.encode())
                            for key, value in ((TOPIC_HEADER, name), beside))
            return [NatsTopic(self._names.topic(name), said, Writer(wanted.namespace, name) if wanted.wraps else None)]

        def find() -> tuple[NatsConnection, int]:
            client = self._client()
            return client.usable(), client.max_pending_bytes

        return NatsPublisher(find, topic, wanted.counters, wanted.most_bytes, wanted.bare, _explain)


def _explain(error: Exception) -> PrismError:
    found = error if isinstance(error, PrismError) else meaning(error)
    if found is None:
        raise error
    return found


class Deliveries:
    """Makes one delivery of a message, however many subscribers it has here: they are called one after the other."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._connection: NatsConnection | None = None  # of the last message, which is its so many-th
        self._number = 0
        self._last: Delivery | None = None

    def of(
        self, connection: NatsConnection | None, subject: bytes, headers: bytes | None, data: bytes
    ) -> Delivery | None:
        """None for what is no topic."""
        if connection is None or connection is not self._connection or connection.received != self._number:
            topic, found = self._names.topic_of(subject), wire.from_wire(headers)
            self._connection = connection
            self._number = connection.received if connection is not None else 0
            self._last = None if topic is None else Delivery(topic, data, found, found.get(wire.ENVELOPE_ID, ""))
        return self._last


class Subscriber:
    """One subscription: a listener of a channel, and what closes it."""

    def __init__(self, deliveries: Deliveries, client: NatsClient, sink: Sink[Delivery]) -> None:
        self._deliveries = deliveries
        self._client = client
        self._sink = sink
        self.channel: Channel | None = None

    def received(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        delivery = self._deliveries.of(self._client.connection, subject, headers, data)
        if delivery is not None:
            self._sink.push(delivery)

    def interrupted(self, why: str) -> None:
        self._sink.missed(None, why)

    def denied(self, error: NatsDenied) -> None:
        self._sink.end(meaning(error))

    async def close(self) -> None:
        if self.channel is not None:
            channel, self.channel = self.channel, None
            self._client.unsubscribe(channel, self)


def send(
    connection: NatsConnection, subject: bytes, headers: bytes | None, data: bytes, reply: bytes | None = None
) -> None:
    """Queue a message. MESSAGE_TOO_LARGE: the server would end the connection of all others."""
    size = len(data) + (len(headers) if headers is not None else 0)
    if size > connection.max_payload:
        raise PrismError(
            StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
            f"the message has {size} bytes with its headers, and max_payload of the NATS server is "
            f"{connection.max_payload}: raise it there, or send large payloads by claim check",
            {"outcome": "not_executed"}, field_name="payload")
    connection.publish(subject, reply, headers, data)
