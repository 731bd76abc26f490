"""The PubSub interfaces as a driver implements them, in the object that it offers as `driver.pubsub`.

Topics are dot-separated text and arrive validated: no wildcard in a publish, no empty token, no control character, no
name that the backend keeps for itself. What a name looks like at the broker is the driver's affair; it must be
reversible, and unseen by the other models. Methods raise the backend's own errors, which the slot classifies, or
PrismError. A driver that declares fewer interfaces is never called for the others.

Delivery. Every message published while a subscription is active is pushed once to each subscriber, and to one member of
each queue group. A subscriber never gets messages published before its subscription was active. From one publisher's
awaited calls, messages of a topic arrive in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prism_proxy.models.messages import Active, Delivery, Sink, StoredMessage, Traits

if TYPE_CHECKING:
    from prism_proxy._native.grpc.outlet import OutletCounters
    from prism_proxy._native.schema.check import DeclaredSchema
    from prism_proxy.errors import PrismError

BASIC = "pubsub_basic"
WILDCARDS = "pubsub_wildcards"
PERSISTENT = "pubsub_persistent"
FILTERING = "pubsub_filtering"
ORDERING = "pubsub_ordering"
BATCH = "pubsub_batch"
OPERATIONS = "pubsub_operations"
ALL = frozenset({BASIC, WILDCARDS, PERSISTENT, FILTERING, ORDERING, BATCH, OPERATIONS})
NEWEST = -1  # a position behind all that is there


@dataclass(frozen=True, slots=True)
class PubSubSettings:
    """The namespace's options a driver needs. The bounds of a topic's log; 0 = none."""

    log_max_age_s: float = 86_400.0
    log_max_bytes: int = 0
    log_max_messages: int = 0


class Published(NamedTuple):
    """`message_id` is that of the first message when this one was a duplicate. `sequence` increases within the topic,
    0 when it has no log. `receivers` counts subscriptions that it was pushed to; -1 = the backend does not say."""

    message_id: str
    sequence: int = 0
    receivers: int = -1


@dataclass(frozen=True, slots=True)
class Subscription:
    """`topic` is exact unless `pattern`: then `*` stands for one token, and a last `>` for one or more."""

    topic: str
    subscriber_id: str
    pattern: bool = False
    queue_group: str = ""


@dataclass(frozen=True, slots=True)
class DurableSubscription:
    """Where it starts: behind `after`, a position of an earlier delivery, wins; then with `from_message_id` itself;
    then at the stored position; then, for a new name, with the first message not older than `from_ms`; then with what
    is published later. An unknown `from_message_id` starts at the time it holds."""

    topic: str
    durable_name: str
    after: bytes = b""
    from_message_id: str = ""
    from_ms: int | None = None


class LastMessage(NamedTuple):
    """Empty and 0 when the log has none."""

    message_id: str
    sequence: int


class DurablePosition(NamedTuple):
    """`next` is the sequence of the first message that is not settled, `lag` how many there are from it on."""

    durable_name: str
    next: int
    lag: int


class TopicDetails(NamedTuple):
    """Of a log: 0 and 0 are the ends of an empty one."""

    messages: int
    earliest: int
    latest: int
    durables: Sequence[DurablePosition]


class DurableActive(Active, Protocol):
    async def settle(self, position: bytes) -> None:
        """Move the stored position behind this delivery, and so behind all before it; never backwards. It may be
        written later and together with others, within 100 ms, and before `close` returns."""
        ...


@dataclass(frozen=True, slots=True)
class NativePublishing:
    """What native handlers do in the place of a model whose messages no step changes. Payloads have at most
    `most_bytes`; `wraps`: a message is an envelope of `namespace`, where the backend keeps no parts; `bare`: it is its
    payload, and nothing else; `declared` is the schema that messages follow, and that they are published with."""

    namespace: str
    counters: OutletCounters
    most_bytes: int
    wraps: bool
    bare: bool
    declared: DeclaredSchema | None = None


class NativeTopics(Protocol):
    """What a driver has as `native_store`, where native handlers can publish by it."""

    def publisher(self, wanted: NativePublishing) -> object | None:
        """The store of the handlers that the backend names in `standard`; None where they cannot."""
        ...


class PubSubBasic(Protocol):
    @property
    def traits(self) -> Traits:
        """Constant while the driver is open, except that a reconnect may correct it."""
        ...

    def configure(self, settings: PubSubSettings) -> None:
        """Called before the first call, and again when the options change."""
        ...

    async def publish(self, topic: str, message: StoredMessage) -> Published:
        """Return when the backend has accepted the message. On a topic with a log it is stored there too."""
        ...

    async def subscribe(self, subscription: Subscription, sink: Sink[Delivery]) -> Active:
        """Return when the backend has confirmed it, so that a publish that begins now is delivered. Reconnects are the
        driver's: it renews the subscription, and reports what may have been lost by `sink.missed`."""
        ...


class PubSubPersistent(Protocol):
    """A topic has a log from its first `publish_persistent` or `subscribe_durable` on, bounded by PubSubSettings."""

    async def publish_persistent(self, topic: str, message: StoredMessage) -> Published:
        """Return when the message is stored, as durably as `traits.durable` says. Live subscribers get it too."""
        ...

    async def subscribe_durable(self, subscription: DurableSubscription, sink: Sink[Delivery]) -> DurableActive:
        """Deliver the log in order from the start that `subscription` names, then what follows. One at a time may be
        open per (topic, durable_name): a driver of shared state ends the earlier one with SUBSCRIBER_REPLACED."""
        ...

    async def ack_durable(self, topic: str, durable_name: str, message_id: str) -> None:
        """Move the position behind this message; never backwards. PrismError NOT_FOUND for an unknown name, or a
        message that the log does not hold."""
        ...

    async def last_message(self, topic: str) -> LastMessage: ...


class PubSubOrdering(Protocol):
    async def publish_ordered(self, topic: str, ordering_key: str, message: StoredMessage) -> Published:
        """As `publish_persistent` where that is declared, else as `publish`. Messages of one key reach every subscriber
        in the order of their sequences, whichever proxies they came through."""
        ...


class PubSubBatch(Protocol):
    async def publish_batch(self, items: Sequence[tuple[str, StoredMessage]]) -> list[Published | PrismError]:
        """Publish in order, each as `publish` does. One result an item; an error of one does not stop the others. At
        most MAX_BATCH items."""
        ...


class PubSubOperations(Protocol):
    """Topics with a log. TOPIC_LOG_NOT_FOUND for others, DURABLE_NOT_FOUND for names that nobody subscribed by."""

    async def topics(self, limit: int) -> Sequence[str]:
        """Their names, at most `limit`."""
        ...

    async def describe(self, topic: str) -> TopicDetails: ...

    async def newest(self, topic: str, count: int) -> Sequence[Delivery]:
        """In the order of the log."""
        ...

    async def purge(self, topic: str) -> int:
        """Remove all messages that are there; how many. Positions stay, and sequences go on."""
        ...

    async def seek_durable(self, topic: str, durable_name: str, sequence: int, from_ms: int | None) -> None:
        """Set the stored position: to the first message not older than `from_ms`, else to `sequence`, 0 and less
        than the first being the first, NEWEST and more than the last the end. An open subscription of the name ends
        with SUBSCRIBER_REPLACED, and moves the position no more."""
        ...

    async def delete_durable(self, topic: str, durable_name: str) -> None:
        """As `seek_durable`, and the name is unknown afterwards."""
        ...


class PubSubDriver(
    PubSubBasic, PubSubPersistent, PubSubOrdering, PubSubBatch, PubSubOperations, Protocol,
):
    """All of them. `pubsub_wildcards` is `subscribe` with `pattern`; `pubsub_filtering` needs no method of its own, the
    model filters what is delivered."""
