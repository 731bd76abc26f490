"""Publish/subscribe within one process: a message goes to the sinks of its topic, and to its log where it has one.

A publisher waits while a subscriber with policy `block` has no room; every other subscriber costs it nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from prism_proxy._native.memstore.store import MessageBytes, StoreFull
from prism_proxy._native.pubsub.publish import LocalPublisher
from prism_proxy._native.pubsub.topics import TopicTable
from prism_proxy.backends.memstore.topic_logs import DurableReader, Log
from prism_proxy.errors import PrismError
from prism_proxy.models import names
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
from prism_proxy.models.messaging_errors import (
    durable_not_found,
    message_not_found,
    publish_queue_full,
    topic_log_not_found,
)
from prism_proxy.models.pubsub.contract import (
    DurableSubscription,
    LastMessage,
    NativePublishing,
    Published,
    PubSubSettings,
    Subscription,
    TopicDetails,
)
from prism_proxy.models.pubsub.matching import TopicTrie

if TYPE_CHECKING:
    from prism_proxy._native.grpc.outlet import Outlet

BLOCK_SECONDS = 5.0  # a publisher waits for a subscriber's room
_TRAITS = Traits(
    Carrier.PARTS, DeliveryClass(Guarantee.AT_MOST_ONCE, "everything", "everything"),
    durable=DeliveryClass(Guarantee.AT_LEAST_ONCE, "everything", "everything", "per key"))


class LocalTopics:
    """What native code publishes by: the topics that it has asked for, until they change."""

    def __init__(self, outlets: Callable[[str], list[Outlet] | None]) -> None:
        self._table = TopicTable(outlets)

    def publisher(self, wanted: NativePublishing) -> LocalPublisher:
        return LocalPublisher(self._table, wanted.counters, wanted.most_bytes, wanted.declared)

    def changed(self, topic: str, *, pattern: bool = False) -> None:
        """What messages of a topic reach is another thing now."""
        if pattern:
            self._table.clear()
        else:
            self._table.forget(topic)


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

    def __init__(
        self, memory: MessageBytes, now_ms: Callable[[], int], refused: Callable[[Exception], PrismError]
    ) -> None:
        self._memory = memory
        self._now_ms = now_ms
        self._refused = refused
        self._settings = PubSubSettings()
        self._logs: dict[str, Log] = {}
        self._exact: dict[str, list[MemstoreSubscription]] = {}
        self._patterns: TopicTrie[MemstoreSubscription] = TopicTrie()
        self._turns: dict[str, itertools.count[int]] = {}  # of queue groups
        self._seen: dict[tuple[str, str], tuple[float, Published]] = {}  # by (topic, deduplication id)
        self.native_store = LocalTopics(self._outlets)

    def configure(self, settings: PubSubSettings) -> None:
        self._settings = settings

    def close(self) -> None:
        for log in self._logs.values():
            self._memory.give(log.clear())

    def keep_up(self) -> None:
        """Let go of what the logs no longer keep."""
        now = self._now_ms()
        for log in self._logs.values():
            self._memory.give(log.trim(self._settings, now))

    async def publish(self, topic: str, message: StoredMessage) -> Published:
        first = self._duplicate_of(topic, message)
        if first is not None:
            return first
        reached = self._reached(topic)
        log = self._logs.get(topic)
        published = Published(message.message_id, 0 if log is None else self._append(log, message), len(reached))
        if message.deduplication_id:
            self._seen[topic, message.deduplication_id] = (time.monotonic(), published)
        delivery = Delivery(topic, message.data, message.headers, message.message_id, message.published_ms)
        full = [found.sink for found in reached if not found.sink.push(delivery)]
        if full:
            await self._push_later(topic, delivery, full)
        return published

    async def publish_batch(self, items: Sequence[tuple[str, StoredMessage]]) -> list[Published | PrismError]:
        results: list[Published | PrismError] = []
        for topic, message in items:
            try:
                results.append(await self.publish(topic, message))
            except StoreFull as error:
                results.append(self._refused(error))
            except PrismError as error:
                results.append(error)
        return results

    # --- logs ---------------------------------------------------------------------------------------------------------

    async def publish_persistent(self, topic: str, message: StoredMessage) -> Published:
        self._log(topic)
        return await self.publish(topic, message)

    async def publish_ordered(self, topic: str, ordering_key: str, message: StoredMessage) -> Published:
        return await self.publish_persistent(topic, message)

    async def subscribe_durable(self, subscription: DurableSubscription, sink: Sink[Delivery]) -> DurableReader:
        log = self._log(subscription.topic)
        self._memory.give(log.trim(self._settings, self._now_ms()))
        return log.open(subscription, sink)

    async def ack_durable(self, topic: str, durable_name: str, message_id: str) -> None:
        log = self._logs.get(topic)
        durable = log.durables.get(durable_name) if log is not None else None
        if log is None or durable is None:
            raise durable_not_found(topic, durable_name)
        sequence = log.sequence_of(message_id)
        if sequence is None:
            raise message_not_found(topic, message_id)
        durable.settled = max(durable.settled, sequence)

    async def last_message(self, topic: str) -> LastMessage:
        log = self._logs.get(topic)
        return log.last() if log is not None else LastMessage("", 0)

    # --- pubsub_operations --------------------------------------------------------------------------------------------

    async def topics(self, limit: int) -> Sequence[str]:
        return sorted(self._logs)[:limit]

    async def describe(self, topic: str) -> TopicDetails:
        return self._existing(topic).details()

    async def newest(self, topic: str, count: int) -> Sequence[Delivery]:
        return self._existing(topic).newest(count)

    async def purge(self, topic: str) -> int:
        log = self._existing(topic)
        count = len(log)
        self._memory.give(log.clear())
        return count

    async def seek_durable(self, topic: str, durable_name: str, sequence: int, from_ms: int | None) -> None:
        self._existing(topic).seek(durable_name, sequence, from_ms)

    async def delete_durable(self, topic: str, durable_name: str) -> None:
        self._existing(topic).forget(durable_name)

    def _existing(self, topic: str) -> Log:
        log = self._logs.get(topic)
        if log is None:
            raise topic_log_not_found(topic)
        return log

    # --- the logs -----------------------------------------------------------------------------------------------------

    def _log(self, topic: str) -> Log:
        found = self._logs.get(topic)
        if found is None:
            found = self._logs[topic] = Log(topic, self._memory)
            self.native_store.changed(topic)
        return found

    def _append(self, log: Log, message: StoredMessage) -> int:
        sequence = log.append(message, self._now_ms())
        self._memory.give(log.trim(self._settings, self._now_ms(), appended=True))
        return sequence

    # --- subscriptions ------------------------------------------------------------------------------------------------

    async def subscribe(self, subscription: Subscription, sink: Sink[Delivery]) -> MemstoreSubscription:
        made = MemstoreSubscription(self, subscription, sink)
        if subscription.pattern:
            self._patterns.add(subscription.topic, made)
        else:
            self._exact.setdefault(subscription.topic, []).append(made)
        self.native_store.changed(subscription.topic, pattern=subscription.pattern)
        return made

    def _outlets(self, topic: str) -> list[Outlet] | None:
        """What native code publishes to; None where a message needs more than to be delivered to each of them."""
        names.topic(topic)
        reached = [*self._exact.get(topic, ()), *self._patterns.match(topic)]
        if topic in self._logs or any(each.subscription.queue_group for each in reached):
            return None
        outlets = [outlet for each in reached if (outlet := getattr(each.sink, "outlet", None)) is not None]
        return outlets if len(outlets) == len(reached) else None

    def discard(self, subscription: MemstoreSubscription) -> None:
        topic = subscription.subscription.topic
        self.native_store.changed(topic, pattern=subscription.subscription.pattern)
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

    def _duplicate_of(self, topic: str, message: StoredMessage) -> Published | None:
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
