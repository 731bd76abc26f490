"""Topics over Redis's publish and subscribe: at most once, to those who are there.

A topic is a channel, and its messages are the bytes that the model framed: Redis keeps no headers. Subscriptions share
a connection (`subscriptions`). Redis's patterns know no tokens, so what a glob finds is matched again here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prism_proxy.backends.redis.commands import Commands
from prism_proxy.backends.redis.errors import meaning
from prism_proxy.backends.redis.names import Names
from prism_proxy.backends.redis.scripts import Script
from prism_proxy.backends.redis.subscriptions import Channel, Subscriptions
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.messages import (
    DEDUPLICATION_SECONDS,
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
    from prism_proxy._native.keyvalue.redis import RedisStore
    from prism_proxy._native.pubsub.redis import RedisPublisher

_TRAITS = Traits(Carrier.BYTES, DeliveryClass(
    Guarantee.AT_MOST_ONCE, "what is on its way", "what is on its way", "arrival",
    ("Who does not listen when a message is published does not get it.", "A lost connection is counted as a gap.")),
    lossy=True)
_WINDOW_MS = b"%d" % int(DEDUPLICATION_SECONDS * 1000)

# KEYS: of the deduplication id. ARGV: channel, data, message id, window
PUBLISH_ONCE = Script("""
local first = redis.call('GET', KEYS[1])
if first then return {first, -1} end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return {ARGV[3], redis.call('PUBLISH', ARGV[1], ARGV[2])}
""")


class Channels:
    """What native code publishes by."""

    def __init__(self, store: RedisStore, names: Names) -> None:
        self._store = store
        self._names = names

    def publisher(self, wanted: NativePublishing) -> RedisPublisher:
        from prism_proxy._native.envelope.codec import Writer
        from prism_proxy._native.pubsub.redis import RedisPublisher
        from prism_proxy.models import names

        return RedisPublisher(
            self._store, self._names.topics, lambda topic: [Writer(wanted.namespace, names.topic(topic))],
            wanted.counters, wanted.most_bytes, wanted.bare, _result, wanted.declared)


class RedisTopics:
    """`subscriptions` raises ConnectionLost while the driver is not open. Without `store` native code does not
    publish."""

    traits = _TRAITS

    def __init__(self, commands: Commands, names: Names, subscriptions: Callable[[], Subscriptions],
                 store: RedisStore | None = None) -> None:
        self.native_store = Channels(store, names) if store is not None else None
        self._commands = commands
        self._names = names
        self._subscriptions = subscriptions
        self._last = b"", Delivery("", b"", {})

    def configure(self, settings: PubSubSettings) -> None:
        """Redis keeps no log of a topic: there is nothing to bound."""

    async def publish(self, topic: str, message: StoredMessage) -> Published:
        channel = self._names.topic(topic)
        if not message.deduplication_id:
            heard = await self._commands.execute(b"PUBLISH", channel, message.data, key=channel)
            return Published(message.message_id, 0, heard)
        key = b"{%b}:once:%b" % (channel, message.deduplication_id.encode())
        first, heard = await PUBLISH_ONCE.run(
            self._commands, b"", [key], channel, message.data, message.message_id.encode(), _WINDOW_MS)
        return Published(first.decode(), 0, heard)

    async def publish_batch(self, items: Sequence[tuple[str, StoredMessage]]) -> list[Published | PrismError]:
        """In order: one connection takes them all, in the order in which they are sent."""
        results = await asyncio.gather(*(self.publish(topic, message) for topic, message in items),
                                       return_exceptions=True)
        return [_result(found) for found in results]

    async def subscribe(self, subscription: Subscription, sink: Sink[Delivery]) -> Subscriber:
        if subscription.queue_group:
            raise PrismError(StatusCode.INVALID_ARGUMENT, "QUEUE_GROUP_NOT_SUPPORTED",
                             "Redis gives a message to every subscriber: leave out queue_group, or use a queue",
                             field_name="queue_group")
        hub = self._subscriptions()
        subscriber = Subscriber(self.delivery, hub, subscription, sink)
        topic = subscription.topic
        name = self._names.pattern(topic) if subscription.pattern else self._names.topic(topic)
        subscriber.channel = await hub.subscribe(name, subscriber, pattern=subscription.pattern)
        return subscriber


    def delivery(self, channel: bytes, data: bytes) -> Delivery:
        """One for all subscribers of a message, so that it is opened and framed once."""
        name, last = self._last
        if name is not channel or last.data is not data:
            last = Delivery(self._names.topic_of(channel), data, {})
            self._last = channel, last
        return last


class Subscriber:
    """One subscription: a listener of a channel, and what closes it. `delivery` makes one of a channel's message."""

    def __init__(self, delivery: Callable[[bytes, bytes], Delivery], hub: Subscriptions, subscription: Subscription,
                 sink: Sink[Delivery]) -> None:
        self._delivery = delivery
        self._hub = hub
        self._tokens = subscription.topic.split(".") if subscription.pattern else None
        self._sink = sink
        self.channel: Channel | None = None

    def received(self, channel: bytes, data: bytes) -> None:
        delivery = self._delivery(channel, data)
        if self._tokens is None or matches(self._tokens, delivery.topic.split(".")):
            self._sink.push(delivery)

    def interrupted(self, why: str) -> None:
        self._sink.missed(None, why)

    async def close(self) -> None:
        if self.channel is not None:
            channel, self.channel = self.channel, None
            self._hub.unsubscribe(channel, self)


def matches(pattern: Sequence[str], topic: Sequence[str]) -> bool:
    """Whether a star stands for each one token, and a last `>` for one or more."""
    for at, token in enumerate(pattern):
        if token == ">" and at == len(pattern) - 1:
            return len(topic) > at
        if at == len(topic) or token not in ("*", topic[at]):
            return False
    return len(topic) == len(pattern)


def _result(found: Published | BaseException) -> Published | PrismError:
    if isinstance(found, Published):
        return found
    error = found if isinstance(found, PrismError) else meaning(found) if isinstance(found, Exception) else None
    if error is None:
        raise found
    return error
