"""Subscribers that are there: who gets a message that is published now. Nothing here is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from prism_proxy.models.messages import Delivery, Sink
from prism_proxy.models.messaging_errors import publish_queue_full
from prism_proxy.models.pubsub.contract import Subscription
from prism_proxy.models.pubsub.matching import TopicTrie

PUBLISH_WAIT_SECONDS = 5.0  # of a publisher for subscribers that are not to lose anything


class Subscriber:
    """An open subscription; implements `models.messages.Active`. `line` keeps the order of publishers that wait."""

    def __init__(self, subscription: Subscription, sink: Sink[Delivery], leave: Callable[[Subscriber], None]) -> None:
        self.subscription = subscription
        self.sink = sink
        self.line = asyncio.Lock()
        self.closed = asyncio.Event()
        self._leave = leave

    def push(self, delivery: Delivery) -> bool:
        return not self.line.locked() and self.sink.push(delivery)

    async def give(self, delivery: Delivery) -> None:
        """Push when there is room, behind those that wait already; dropped when the subscription closes."""
        async with self.line:
            while not self.closed.is_set() and not self.sink.push(delivery):
                room = asyncio.ensure_future(self.sink.room())
                closed = asyncio.ensure_future(self.closed.wait())
                try:
                    await asyncio.wait((room, closed), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    room.cancel()
                    closed.cancel()

    async def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self._leave(self)


class Live:
    """Belongs to the loop."""

    def __init__(self) -> None:
        self._exact: dict[str, list[Subscriber]] = {}
        self._patterns: TopicTrie[Subscriber] = TopicTrie()
        self._turns: dict[str, int] = {}  # of the members of queue groups
        self._members: dict[str, int] = {}

    def subscribe(self, subscription: Subscription, sink: Sink[Delivery]) -> Subscriber:
        subscriber = Subscriber(subscription, sink, self._leave)
        if subscription.queue_group:
            self._turns.setdefault(subscription.queue_group, -1)
            self._members[subscription.queue_group] = self._members.get(subscription.queue_group, 0) + 1
        if subscription.pattern:
            self._patterns.add(subscription.topic, subscriber)
        else:
            self._exact.setdefault(subscription.topic, []).append(subscriber)
        return subscriber

    async def deliver(self, delivery: Delivery) -> int:
        """How many subscriptions got it. Those with room get it at once; then the others are waited for.
        PUBLISH_QUEUE_FULL when they take too long: all others have the message."""
        chosen = list(self._chosen(delivery.topic))
        full = [subscriber for subscriber in chosen if not subscriber.push(delivery)]
        if full:
            waiting = [asyncio.ensure_future(subscriber.give(delivery)) for subscriber in full]
            _, late = await asyncio.wait(waiting, timeout=PUBLISH_WAIT_SECONDS)
            for one in late:
                one.cancel()
            if late:
                raise publish_queue_full(f"topic {delivery.topic!r}, for {len(late)} of its subscribers,")
        return len(chosen)

    def _chosen(self, topic: str) -> Iterator[Subscriber]:
        """Every subscriber of the topic without a group, and one of each group: the next one in turn with room."""
        groups: dict[str, list[Subscriber]] = {}
        for subscriber in self._matching(topic):
            group = subscriber.subscription.queue_group
            if group:
                groups.setdefault(group, []).append(subscriber)
            else:
                yield subscriber
        for group, members in groups.items():
            turn = self._turns[group] = self._turns[group] + 1
            ordered = [members[(turn + index) % len(members)] for index in range(len(members))]
            yield next((one for one in ordered if one.sink.credit > 0 and not one.line.locked()), ordered[0])

    def _matching(self, topic: str) -> Iterator[Subscriber]:
        yield from self._exact.get(topic, ())
        yield from self._patterns.match(topic)

    def _leave(self, subscriber: Subscriber) -> None:
        topic = subscriber.subscription.topic
        if subscriber.subscription.pattern:
            self._patterns.discard(topic, subscriber)
        elif subscriber in self._exact.get(topic, ()):
            self._exact[topic].remove(subscriber)
            if not self._exact[topic]:
                del self._exact[topic]
        group = subscriber.subscription.queue_group
        if group:
            self._members[group] -= 1
            if not self._members[group]:
                del self._members[group], self._turns[group]
