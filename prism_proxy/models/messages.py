"""What the three messaging models share: a message as a backend keeps it, where deliveries go, and what is promised.

A driver sees bytes and text headers. It neither makes nor reads envelopes: the model frames a message before it calls
the driver, and opens it after the driver delivered it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:  # errors bring grpc, which a supervisor of workers does without
    from prism_proxy.errors import PrismError

DEDUPLICATION_SECONDS = 120.0
MAX_BATCH = 10_000
VERSION_HEADER = "prism-envelope-version"
TOPIC_HEADER = "prism-topic"
NAMESPACE_HEADER = "prism-namespace"
DEAD_LETTER_SUFFIX = ".dlq"
# headers that a driver adds to what it moves to the dead letters; nothing else of the message changes
SOURCE_HEADER = "x-dlq-source"  # the queue or stream it comes from
ERROR_HEADER = "x-error"  # the last reason given, or why it moved
RETRIES_HEADER = "x-retry-count"  # deliveries before it moved

DeliveryT_contra = TypeVar("DeliveryT_contra", contravariant=True)


class Carrier(Enum):
    """What a backend keeps beside the bytes of a message. It decides how the model frames messages."""

    PARTS = "parts"  # payload and metadata as they are: never an envelope
    HEADERS = "headers"  # bytes and text headers: envelope.mode always, headers or raw
    BYTES = "bytes"  # bytes alone: envelope.mode always or raw


class Guarantee(Enum):
    AT_MOST_ONCE = "at most once"
    AT_LEAST_ONCE = "at least once"


@dataclass(frozen=True, slots=True)
class DeliveryClass:
    """What a caller may rely on, computed from the backend's real settings and shown in the namespace's status.

    `process_loss` and `power_loss` say what may be lost when the backend's process or machine dies, e.g. "nothing",
    "everything", "up to 1 s". `order` is "per key", "per partition" or "arrival". `notes` are whole sentences.
    """

    guarantee: Guarantee
    process_loss: str
    power_loss: str
    order: str = "arrival"
    notes: tuple[str, ...] = ()


def described(name: str, found: DeliveryClass) -> dict[str, str]:
    """A delivery class as the status of a namespace shows it."""
    return {f"{name}.guarantee": found.guarantee.value, f"{name}.lost_with_process": found.process_loss,
            f"{name}.lost_with_power": found.power_loss, f"{name}.order": found.order,
            **({f"{name}.notes": " ".join(found.notes)} if found.notes else {})}


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message on its way to the backend.

    `message_id` is a UUID v7 in text form. `data` and `headers` are kept and delivered byte for byte. Times are epoch
    milliseconds; `expires_ms` 0 = never. Within DEDUPLICATION_SECONDS a second message with the same non-empty
    `deduplication_id` in the same topic, stream or queue is not stored: the first one's id is answered. `moved_to` is
    where the model puts it instead of where it was published to: dead letters.
    """

    message_id: str
    data: bytes
    headers: Mapping[str, str]
    published_ms: int
    expires_ms: int = 0
    deduplication_id: str = ""
    moved_to: str = ""


class KeptMessage(NamedTuple):
    """A message or record as a backend keeps it, for commands that look at how things are stored (`kept_messages` of a
    driver). `model` is queue, stream or log; `name` is empty where the backend does not tell."""

    model: str
    name: str
    data: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class Delivery:
    """A message of a topic on its way to a subscriber.

    `message_id` and `published_ms` are what the backend knows; empty and 0 when only `data` tells. `position` is
    opaque outside the driver and orders the messages of one subscription: empty where nothing can be resumed. A driver
    may push one object to many sinks; `opened` is what the model made of it for the first of them.
    """

    topic: str
    data: bytes
    headers: Mapping[str, str]
    message_id: str = ""
    published_ms: int = 0
    position: bytes = b""
    attempt: int = 1
    opened: Any = field(default=None, compare=False, repr=False)


class Sink(Protocol[DeliveryT_contra]):
    """Where a driver puts deliveries: a bounded buffer of one subscriber. It is never awaited by `push`.

    The model bounds it by messages and bytes and applies the subscriber's policy. A driver keeps at most one delivery
    that was not taken, and waits with `room` before it pushes again; it reads no more from its backend meanwhile, where
    the backend can be held back for one subscriber alone. Where it cannot (`Traits.lossy`: core NATS, Redis pub/sub),
    the policy is `drop` or `disconnect`, and `push` always takes.

    A sink may have an `outlet`: where framed messages go without it, by native code of a driver whose subscribers are
    all in this process.
    """

    @property
    def credit(self) -> int:
        """How many deliveries would be taken now, about. What pull-based backends ask for."""
        ...

    def push(self, delivery: DeliveryT_contra) -> bool:
        """Take a delivery. False: the buffer is full, the delivery was not taken; `await room()` and push it again."""
        ...

    async def room(self) -> None:
        """Return when `push` would take, at once if it would now. Cancelled when the subscription is closed."""
        ...

    def missed(self, count: int | None, why: str) -> None:
        """Messages may have been lost for this subscriber: how many, if the backend knows. Counted and logged."""
        ...

    def end(self, error: PrismError | None) -> None:
        """Nothing more will come: all was read (None), or the subscription failed for good. Outages are no end: the
        driver reconnects in the background."""
        ...


class Active(Protocol):
    """An open subscription, read or membership."""

    async def close(self) -> None:
        """Stop delivering. What was pushed but not settled becomes available to others at once."""
        ...


@dataclass(frozen=True, slots=True)
class Traits:
    """What a driver says of itself for one model. `max_bytes` bounds data and headers together; 0 = no bound of its
    own. `lossy` = `push` must always take: this backend cannot be held back for one subscriber."""

    carrier: Carrier
    delivery: DeliveryClass
    max_bytes: int = 0
    lossy: bool = False
    durable: DeliveryClass | None = None  # of logs, where `delivery` is that of live topics
    retention: frozenset[str] = field(default_factory=frozenset)  # of "age", "bytes", "records"
