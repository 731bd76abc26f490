"""Publish/subscribe within one process: a message goes to the sinks of its topic, and is kept nowhere.

A publisher waits while a subscriber with policy `block` has no room; every other subscriber costs it nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace

from prism_proxy.errors import PrismError
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
from prism_proxy.models.messaging_errors import publish_queue_full
from prism_proxy.models.pubsub.contract import Published, PubSubSettings, Subscription
from prism_proxy.models.pubsub.matching import TopicTrie

BLOCK_SECONDS = 5.0  # a publisher waits for a subscriber's room
_TRAITS = Traits(Carrier.PARTS, DeliveryClass(Guarantee.AT_MOST_ONCE, "everything", "everything"))


class MemstoreSubscription:
    """An open subscription."""

    def __init__(self, topics: MemstoreTopics, subscription: Subscription, sink: Sink[Delivery]) -> None:
        self.subscription = subscription
        self.sink = sink
        self._topics = topics

    async def close(self) -> None:
        self._topics.discard(self)


class MemstoreTopics:
    """The topics of one namespace."""

    traits = _TRAITS

    def __init__(self) -> None:
        self._exact: dict[str, list[MemstoreSubscription]] = {}
        self._patterns: TopicTrie[MemstoreSubscription] = TopicTrie()
        self._turns: dict[str, itertools.count[int]] = {}  # of queue groups
        self._seen: dict[tuple[str, str], tuple[float, str]] = {}  # (topic, deduplication id) -> (time, message id)

    def configure(self, settings: PubSubSettings) -> None:
        """Topics here have no log that could be bounded."""

    async def publish(self, topic: str, message: StoredMessage) -> Published:
        first = self._duplicate_of(topic, message)
        if first is not None:
            return Published(first)
        if message.deduplication_id:
            self._seen[topic, message.deduplication_id] = (time.monotonic(), message.message_id)
        reached = self._reached(topic)
        delivery = Delivery(topic, message.data, message.headers, message.message_id, message.published_ms)
        full = [found.sink for found in reached if not found.sink.push(delivery)]
        if full:
            await self._push_later(topic, delivery, full)
        return Published(message.message_id, receivers=len(reached))

    async def publish_batch(self, items: Sequence[tuple[str, StoredMessage]]) -> list[Published | PrismError]:
        results: list[Published | PrismError] = []
        for topic, message in items:
            try:
                results.append(await self.publish(topic, message))
            except PrismError as error:
                results.append(error)
        return results

    async def subscribe(self, subscription: Subscription, sink: Sink[Delivery]) -> MemstoreSubscription:
        made = MemstoreSubscription(self, subscription, sink)
        if subscription.pattern:
            self._patterns.add(subscription.topic, made)
        else:
            self._exact.setdefault(subscription.topic, []).append(made)
        return made

    def discard(self, subscription: MemstoreSubscription) -> None:
        topic = subscription.subscription.topic
        if subscription.subscription.pattern:
            self._patterns.discard(topic, subscription)
            return
        found = self._exact.get(topic, [])
        if subscription in found:
            found.remove(subscription)
        if not found:
            self._exact.pop(topic, None)

    def _reached(self, topic: str) -> list[MemstoreSubscription]:
        """Everyone without a group, and one member of each group in turn."""
        found = [*self._exact.get(topic, ()), *self._patterns.match(topic)]
        if not any(each.subscription.queue_group for each in found):
            return found
        alone = [each for each in found if not each.subscription.queue_group]
        groups: dict[str, list[MemstoreSubscription]] = {}
        for each in found:
            if each.subscription.queue_group:
                groups.setdefault(each.subscription.queue_group, []).append(each)
        for name, members in groups.items():
            ready = [each for each in members if each.sink.credit] or members
            alone.append(ready[next(self._turns.setdefault(name, itertools.count())) % len(ready)])
        return alone

    async def _push_later(self, topic: str, delivery: Delivery, sinks: Sequence[Sink[Delivery]]) -> None:
        """Wait for the room of subscribers that want to be waited for. The others have the message already."""
        try:
            async with asyncio.timeout(BLOCK_SECONDS):
                for sink in sinks:
                    await sink.room()
                    while not sink.push(delivery):
                        await sink.room()
        except TimeoutError:
            raise replace(publish_queue_full(f"a subscriber of topic {topic!r}"),
                          metadata={"outcome": "unknown"}) from None

    def _duplicate_of(self, topic: str, message: StoredMessage) -> str | None:
        if not message.deduplication_id:
            return None
        now = time.monotonic()
        while self._seen:
            oldest = next(iter(self._seen))
            if now - self._seen[oldest][0] < DEDUPLICATION_SECONDS:
                break
            del self._seen[oldest]
        found = self._seen.get((topic, message.deduplication_id))
        return found[1] if found is not None else None
