"""The meaning of the PubSub methods, over a slot filled by any driver.

A subscription is active when `subscribe` returns. Its messages wait in a bounded buffer; the buffer's policy decides
what a slow subscriber costs, and never costs another one anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from prism_proxy._native.envelope.codec import now_ms
from prism_proxy._native.grpc.outlet import OutletCounters
from prism_proxy.contracts.driver import Health, HealthReport
from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.handles import HandleMaker
from prism_proxy.models import names
from prism_proxy.models.assertion import MISMATCH
from prism_proxy.models.depths import MAX_NAMES
from prism_proxy.models.framing import NOBODY, Framing, Opened, Origin, Rejected
from prism_proxy.models.messages import MAX_BATCH, Delivery, described
from prism_proxy.models.messaging_errors import subscriber_replaced
from prism_proxy.models.passing import Receipts
from prism_proxy.models.publishing import Publishing, merged
from prism_proxy.models.pubsub import operations
from prism_proxy.models.pubsub.contract import (
    NEWEST,
    DurableSubscription,
    LastMessage,
    NativePublishing,
    NativeTopics,
    Published,
    Subscription,
    TopicDetails,
)
from prism_proxy.models.pubsub.direct import Direct, DirectSubscriber
from prism_proxy.models.pubsub.followed import FollowedMessages
from prism_proxy.models.pubsub.options import PubSubOptions
from prism_proxy.models.pubsub.subscriber import DURABLE, Subscriber, SubscriberOptions
from prism_proxy.models.resume import position_in
from prism_proxy.slots.chain import Chain
from prism_proxy.slots.composition import Part, Surroundings
from prism_proxy.slots.operation import Caller
from prism_proxy.slots.slot import Slot
from prism_proxy.telemetry.metrics import Metric, Sample
from prism_runtime import log

MAX_PEEKED = 1000  # messages in one reply
Key = tuple[str, str]
AnySubscriber = Subscriber | DirectSubscriber


class _State:
    """What outlives a configuration change: the open subscriptions by (topic, subscriber id), and the counts."""

    def __init__(self, process: str) -> None:
        self.open: dict[Key, AnySubscriber] = {}
        self.ids = HandleMaker(process)
        self.followed = FollowedMessages()
        self.counters = OutletCounters()


class PubSubModel(Part):
    """One per namespace and configuration."""

    def __init__(self, slot: Slot[Any], options: PubSubOptions, surroundings: Surroundings = Surroundings(),
                 previous: PubSubModel | None = None) -> None:
        self._slot = slot
        self._driver = slot.driver.pubsub
        self._driver.configure(options.settings())
        self._options = options
        self._namespace = surroundings.namespace
        self._chain = surroundings.chain
        self._state: _State = previous._state if previous is not None else _State(surroundings.process)
        self._counters = self._state.counters
        self._queued = surroundings.queued
        self._framing = Framing(surroundings, self._driver.traits)
        self._receipts: Receipts = Receipts(self._framing, surroundings.namespace, "pubsub",
                                  previous._receipts if previous is not None else None)
        self._lossy = self._driver.traits.lossy
        self.native_store = self._publisher(surroundings.chain)

    def _publisher(self, chain: Chain) -> object | None:
        """What native handlers publish by, where no step changes messages and they are not signed."""
        native: NativeTopics | None = getattr(self._driver, "native_store", None)
        if native is None or (chain.steps and chain.native is None) or self._framing.signs:
            return None
        return native.publisher(NativePublishing(
            self._namespace, self._counters, self._framing.max_bytes, self._framing.wraps, self._framing.bare,
            chain.native))

    @property
    def native(self) -> bool:
        """Whether native handlers may publish in its place."""
        return self.native_store is not None

    # --- publish ----------------------------------------------------------------------------------------------------

    async def publish(self, topic: str, payload: bytes, metadata: Mapping[str, str], caller: Caller | None = None,
                      origin: Origin = NOBODY) -> str:
        """The message id; that of the first message when this one is a duplicate."""
        async with Publishing(self._framing) as publishing:
            message = await publishing.frame(names.topic(topic), payload, metadata, origin)
            found: Published = await self._slot.call(
                operations.PUBLISH, caller, self._driver.publish, message.moved_to or topic, message)
            await publishing.one_stored(found.message_id)
        self._counters.published += 1
        return found.message_id

    async def publish_persistent(
        self, topic: str, payload: bytes, metadata: Mapping[str, str], caller: Caller | None = None,
        origin: Origin = NOBODY,
    ) -> Published:
        """Stored when it returns."""
        async with Publishing(self._framing) as publishing:
            message = await publishing.frame(names.topic(topic), payload, metadata, origin)
            found: Published = await self._slot.call(
                operations.PUBLISH_PERSISTENT, caller, self._driver.publish_persistent, message.moved_to or topic,
                message)
            await publishing.one_stored(found.message_id)
        self._counters.published += 1
        return found

    async def publish_ordered(
        self, topic: str, payload: bytes, ordering_key: str, metadata: Mapping[str, str],
        caller: Caller | None = None, origin: Origin = NOBODY,
    ) -> Published:
        """Messages of one ordering key reach each subscriber in the order of their sequences."""
        if not names.identity(ordering_key, "ordering_key"):
            raise invalid("ordering_key", "ordering_key is empty: Publish needs none")
        async with Publishing(self._framing) as publishing:
            message = await publishing.frame(names.topic(topic), payload, metadata, origin)
            found: Published = await self._slot.call(
                operations.PUBLISH_ORDERED, caller, self._driver.publish_ordered, message.moved_to or topic,
                ordering_key, message)
            await publishing.one_stored(found.message_id)
        self._counters.published += 1
        return found

    async def publish_batch(
        self, items: Sequence[tuple[str, bytes, Mapping[str, str]]], caller: Caller | None = None,
        origin: Origin = NOBODY,
    ) -> list[str | PrismError]:
        """One message id or error an item, in order."""
        if len(items) > MAX_BATCH:
            raise invalid("requests", f"a batch has at most {MAX_BATCH} messages, this one {len(items)}",
                          constraint=f"at most {MAX_BATCH}")
        results: list[str | PrismError] = []
        valid = []
        async with Publishing(self._framing) as publishing:
            for topic, payload, metadata in items:
                try:
                    message = await publishing.frame(names.topic(topic), payload, metadata, origin)
                    valid.append((message.moved_to or topic, message))
                    results.append("")
                except PrismError as error:
                    results.append(error)
            found = await self._slot.call(
                operations.PUBLISH_BATCH, caller, self._driver.publish_batch, valid) if valid else []
            done = [each if isinstance(each, PrismError) else each.message_id for each in found]
            heard = await publishing.stored(done)
        self._counters.published += sum(not isinstance(each, PrismError) for each in done)
        return merged(results, done, heard)

    # --- subscribe --------------------------------------------------------------------------------------------------

    async def subscribe(
        self, topic: str, subscriber_id: str, given: Mapping[str, str], *, pattern: bool = False,
        queue_group: str = "", accepts: Callable[[Mapping[str, str]], bool] | None = None,
        caller: Caller | None = None, direct: Direct | None = None,
    ) -> AnySubscriber:
        """An active subscription, which the caller must hand to `messages`. A second one with the same topic and id
        ends the first. `accepts` filters by what the subscriber would see as metadata. Messages that need nothing more
        go to `direct`, where it is given."""
        checked = names.pattern(topic) if pattern else names.topic(topic)
        options = self._asserted(SubscriberOptions.parse(given, self._options, lossy=self._lossy))
        group = names.identity(queue_group or options.queue_group, "queue_group")
        operation = operations.SUBSCRIBE_PATTERN if pattern else operations.SUBSCRIBE
        subscriber = self._subscriber(options, accepts, direct)
        identity = names.identity(subscriber_id, "subscriber_id") or subscriber.subscription_id
        await self._activate((checked, identity), subscriber, lambda: self._slot.stream(
            operation, caller, self._driver.subscribe, Subscription(checked, identity, pattern, group), subscriber))
        return subscriber

    async def subscribe_durable(
        self, topic: str, durable_name: str, given: Mapping[str, str], *, from_message_id: str = "",
        from_ms: int | None = None, caller: Any = None,
    ) -> Subscriber:
        """As `subscribe`, at the position of the durable name. Unless `ack` is explicit, it moves when a message was
        written to the caller."""
        names.topic(topic)
        if not names.identity(durable_name, "durable_name"):
            raise invalid("durable_name", "durable_name is empty: Subscribe needs none")
        names.identity(from_message_id, "from_message_id")
        options = self._asserted(SubscriberOptions.parse(given, self._options, lossy=False, durable=True))
        after = position_in(caller, DURABLE) or b""
        subscriber = Subscriber(self._state.ids.make(), options, self._count_dropped, self._report_missed, self._queued)
        wanted = DurableSubscription(topic, durable_name, after, from_message_id, from_ms)
        await self._activate((topic, durable_name), subscriber, lambda: self._slot.stream(
            operations.SUBSCRIBE_DURABLE, caller, self._driver.subscribe_durable, wanted, subscriber))
        if not options.explicit_ack:
            subscriber.settle = subscriber.active.settle  # type: ignore[union-attr]
        elif durable_name == self._chain.only_durable:
            subscriber.on_given = self._state.followed.add
        return subscriber

    def _subscriber(
        self, options: SubscriberOptions, accepts: Callable[[Mapping[str, str]], bool] | None, direct: Direct | None
    ) -> AnySubscriber:
        handle = self._state.ids.make()
        if direct is not None and accepts is None and options.schema is None and not self._chain.messages:
            outlet = direct.outlet(self._counters, self._queued, options)
            return DirectSubscriber(handle, options, direct, outlet, self._report_missed, self._open)
        return Subscriber(
            handle, options, self._count_dropped, self._report_missed, self._queued, self._filter(accepts))

    def _asserted(self, options: SubscriberOptions) -> SubscriberOptions:
        if options.schema is not None:
            options.schema.check_open(self._chain, self._namespace)
        return options

    def _filter(self, accepts: Callable[[Mapping[str, str]], bool] | None) -> Callable[[Delivery], bool] | None:
        if accepts is None:
            return None

        def wanted(delivery: Delivery) -> bool:
            opened = self._open(delivery)
            return opened is not None and accepts(opened.metadata)

        return wanted

    async def _activate(
        self, key: Key, subscriber: AnySubscriber, subscribe: Callable[[], Awaitable[Any]]
    ) -> None:
        earlier = self._state.open.get(key)
        if earlier is not None:
            earlier.end(subscriber_replaced(key[1]))
            log.get("prism.pubsub").info("a subscriber was replaced", namespace=self._namespace, topic=key[0],
                                         subscriber=key[1])
        self._state.open[key] = subscriber
        try:
            subscriber.active = await subscribe()
        except BaseException:
            self._forget(key, subscriber)
            raise

    @contextlib.asynccontextmanager
    async def following(self, topic: str, subscriber_id: str, subscriber: AnySubscriber) -> AsyncIterator[None]:
        """The life of an active subscription: it is closed at the end of the block, whatever ends it."""
        seconds = subscriber.options.max_seconds
        timer = asyncio.get_running_loop().call_later(seconds, subscriber.end, None) if seconds else None
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            self._forget((topic, subscriber_id or subscriber.subscription_id), subscriber)
            subscriber.end(None)
            with contextlib.suppress(PrismError):
                if isinstance(subscriber, Subscriber):
                    await subscriber.settle_written()
                    subscriber.close()
                if subscriber.active is not None:
                    await subscriber.active.close()

    async def messages(self, subscriber: AnySubscriber) -> AsyncIterator[Opened]:
        """What a subscriber gets other than directly, until its subscription ends. PrismError when it failed."""
        if isinstance(subscriber, DirectSubscriber):
            await subscriber.run()
            return
        options = subscriber.options
        while (delivery := await subscriber.take()) is not None:
            opened = self._open(delivery)
            if opened is not None and opened.passing is not None:
                opened = await self._receipts.passed(opened, options.inline_bytes)
            if opened is not None and options.schema is not None and opened.topic and not options.schema.accepts(
                    opened.metadata, self._chain, self._namespace):
                self._receipts.reject(opened.topic, MISMATCH)
                opened = None
            if opened is not None:
                subscriber.delivered += 1
                self._counters.delivered += 1
                if subscriber.on_given is not None:
                    subscriber.on_given(opened)
                yield opened
            await subscriber.written(delivery)
            if options.max_messages and subscriber.delivered >= options.max_messages:
                return

    def unsubscribe(self, topic: str, subscriber_id: str) -> None:
        """End a subscription, with OK. PrismError NOT_FOUND when it is not open in this process."""
        names.pattern(topic, "topic")
        names.identity(subscriber_id, "subscriber_id")
        found = self._state.open.get((topic, subscriber_id))
        if found is None:
            raise PrismError(
                StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND",
                f"there is no subscription of {subscriber_id!r} to {topic!r}", field_name="subscriber_id")
        found.end(None)

    # --- logs -------------------------------------------------------------------------------------------------------

    async def last_message(self, topic: str, caller: Caller | None = None) -> LastMessage:
        names.topic(topic)
        found: LastMessage = await self._slot.call(
            operations.LAST_MESSAGE, caller, self._driver.last_message, topic)
        return found

    async def ack_durable(self, topic: str, durable_name: str, message_id: str, caller: Caller | None = None) -> None:
        names.topic(topic)
        names.identity(durable_name, "durable_name")
        names.identity(message_id, "message_id")
        await self._slot.call(
            operations.ACK_DURABLE, caller, self._driver.ack_durable, topic, durable_name, message_id)
        if durable_name == self._chain.only_durable:
            for token in self._state.followed.take(topic, message_id):
                await self._framing.settled(topic, token)

    async def topics(self, limit: int, caller: Caller | None = None) -> list[str]:
        """Those with a log, by name."""
        if not 0 <= limit <= MAX_NAMES:
            raise invalid("limit", f"limit is from 0, which reads as {MAX_NAMES}, to {MAX_NAMES}", value=str(limit))
        return sorted(await self._slot.call(operations.LIST_TOPICS, caller, self._driver.topics, limit or MAX_NAMES))

    async def describe(self, topic: str, caller: Caller | None = None) -> TopicDetails:
        found: TopicDetails = await self._slot.call(
            operations.DESCRIBE_TOPIC, caller, self._driver.describe, names.topic(topic))
        return found

    async def peek(self, topic: str, count: int, caller: Caller | None = None) -> list[Opened]:
        """The newest messages, but for those that have expired or do not open."""
        if not 0 <= count <= MAX_PEEKED:
            raise invalid("max_messages", f"max_messages is from 0, which reads as 1, to {MAX_PEEKED}",
                          value=str(count))
        found = []
        for delivery in await self._slot.call(
                operations.PEEK_TOPIC, caller, self._driver.newest, names.topic(topic), count or 1):
            opened = self._open(delivery)
            if opened is not None and opened.passing is not None:
                opened = await self._receipts.passed(opened, -1)
            if opened is not None:
                found.append(opened)
        return found

    async def purge(self, topic: str, caller: Caller | None = None) -> int:
        """How many messages were removed."""
        return int(await self._slot.call(operations.PURGE_TOPIC, caller, self._driver.purge, names.topic(topic)))

    async def seek_durable(self, topic: str, durable_name: str, sequence: int, from_ms: int | None,
                           caller: Caller | None = None) -> None:
        names.topic(topic)
        names.identity(durable_name, "durable_name")
        if sequence < NEWEST or (from_ms is not None and from_ms < 0):
            raise invalid("sequence", "sequence is -1 for the end, or the sequence of a message; timestamp is not "
                          "negative", value=str(sequence))
        await self._slot.call(
            operations.SEEK_DURABLE, caller, self._driver.seek_durable, topic, durable_name, sequence, from_ms)

    async def delete_durable(self, topic: str, durable_name: str, caller: Caller | None = None) -> None:
        names.topic(topic)
        names.identity(durable_name, "durable_name")
        await self._slot.call(operations.DELETE_DURABLE, caller, self._driver.delete_durable, topic, durable_name)

    def _open(self, delivery: Delivery) -> Opened | None:
        if not delivery.topic:  # a notice of a gap
            return Opened(b"", delivery.headers, "", 0, "")
        opened: Opened | None = delivery.opened
        if opened is not None:
            if opened.expires_ms and opened.expires_ms <= now_ms():
                self._counters.expired += 1
                return None
            return opened
        try:
            opened = self._framing.open(delivery.topic, delivery.data, delivery.headers, delivery.message_id,
                                        delivery.published_ms)
        except Rejected as rejected:
            self._receipts.reject(delivery.topic, rejected.reason)
            return None
        self._counters.expired += opened is None
        if opened is not None and not self._framing.steps:
            delivery.opened = opened
        return opened

    def _forget(self, key: Key, subscriber: AnySubscriber) -> None:
        if self._state.open.get(key) is subscriber:
            del self._state.open[key]

    # --- what operators see -----------------------------------------------------------------------------------------

    def _count_dropped(self, count: int) -> None:
        self._counters.dropped += count

    def _report_missed(self, count: int | None, why: str) -> None:
        self._counters.missed += count or 1
        log.get("prism.pubsub").warning("messages may have been missed", namespace=self._namespace,
                                        count="unknown" if count is None else count, why=why)

    @property
    def reader_metadata(self) -> tuple[tuple[str, str], ...]:
        """As `Framing.reader_metadata`."""
        return self._framing.reader_metadata

    def health(self) -> HealthReport:
        """What callers may rely on; degraded while a step of the namespace has not what it needs."""
        paused, traits = self._receipts.paused, self._driver.traits
        details = described("pubsub", traits.delivery) | (
            described("pubsub_durable", traits.durable) if traits.durable is not None else {})
        return HealthReport(Health.DEGRADED if paused else Health.HEALTHY, paused, details)

    def metrics(self) -> Iterable[Metric]:
        yield self._receipts.metrics()
        label = (("namespace", self._namespace),)
        counters = self._counters
        yield Metric("prism_pubsub_subscriptions", "gauge", "Open subscriptions.",
                     [Sample(label, float(len(self._state.open)))])
        for name, text, count in (
            ("published", "Messages that the backend accepted.", counters.published),
            ("delivered", "Messages handed to subscribers.", counters.delivered),
            ("expired", "Messages that expired before they were delivered.", counters.expired),
            ("missed", "Messages that a subscriber may have missed while the backend was away.", counters.missed),
        ):
            yield Metric(f"prism_pubsub_{name}_total", "counter", text, [Sample(label, float(count))])
        yield Metric("prism_pubsub_dropped_total", "counter", "Messages dropped because a subscriber was slow.", [
            Sample((*label, ("reason", "slow_subscriber")), float(counters.dropped))])
