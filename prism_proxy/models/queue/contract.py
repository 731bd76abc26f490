"""The Queue interfaces as a driver implements them, in the object that it offers as `driver.queue`.

A message is ready, scheduled (not yet visible), in flight (leased) or gone. Ready messages come by priority, 10 first,
and within a priority in the order in which they became ready. Names arrive validated. Methods raise the backend's own
errors, or PrismError; those that all drivers share are made in `models.messaging_errors`.

Receipts are opaque text of at most 512 characters, one per delivery, good at any worker and proxy that reaches the
backend. A receipt whose lease is over is refused with RECEIPT_EXPIRED, also when nobody took the message since.

Waiting. A call with `wait_s` returns as soon as one message is there; it does not wait for more. When it is cancelled,
nothing is lost: what it had leased is ready again, what it would have removed is still there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prism_proxy.models.messages import StoredMessage, Traits

if TYPE_CHECKING:
    from prism_proxy.errors import PrismError

BASIC = "queue_basic"
VISIBILITY = "queue_visibility"
DEAD_LETTER = "queue_dead_letter"
PRIORITY = "queue_priority"
DELAYED = "queue_delayed"
BATCH = "queue_batch"
OPERATIONS = "queue_operations"
ALL = frozenset({BASIC, VISIBILITY, DEAD_LETTER, PRIORITY, DELAYED, BATCH, OPERATIONS})

DEFAULT_PRIORITY = 5
MAX_PRIORITY = 10


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The namespace's options a driver needs. `max_receives` is that of queues without ConfigureDeadLetter; 0 = a
    message is delivered until it is settled."""

    visibility_s: float = 300.0
    max_receives: int = 0


class QueueItem(NamedTuple):
    """`deliver_at_ms` 0 = at once, else epoch milliseconds before which nobody sees it."""

    message: StoredMessage
    priority: int = DEFAULT_PRIORITY
    deliver_at_ms: int = 0


@dataclass(slots=True)
class QueuedMessage:
    """A message as a consumer gets it. `message_id` is empty when only `data` tells. `receive_count` includes this
    delivery; `receipt` is empty where nothing is to be settled."""

    data: bytes
    headers: Mapping[str, str]
    message_id: str
    enqueued_ms: int
    priority: int
    receive_count: int
    receipt: str = ""


class Outcome(Enum):
    DONE = auto()  # delete it
    RETRY = auto()  # ready again after `delay_s`, or to the dead letters when it was received too often
    FAIL = auto()  # to the dead letters at once; where there are none it is deleted


@dataclass(frozen=True, slots=True)
class Settlement:
    outcome: Outcome
    reason: str = ""
    delay_s: float = 0.0


class DeadLetters(NamedTuple):
    """`max_receives` 0 = nothing moves; `depth` counts what the dead letter queue holds."""

    queue: str
    max_receives: int
    depth: int


class Redriven(NamedTuple):
    """`cursor` is None at the end."""

    moved: int
    skipped: int
    cursor: bytes | None


class Scheduled(NamedTuple):
    """How many messages, and when the next one becomes ready: 0 when there is none."""

    messages: int
    next_ms: int


class Counts(NamedTuple):
    """`oldest_ms` is when the oldest ready message was enqueued, 0 without one."""

    ready: int
    in_flight: int
    scheduled: int
    oldest_ms: int


class QueueBasic(Protocol):
    """A driver whose messages are in this process may have `native_store`, a `_native.queue.local.QueueTable`, by which
    native handlers serve what is ordinary."""

    @property
    def traits(self) -> Traits: ...

    def configure(self, settings: QueueSettings) -> None:
        """Called before the first call, and again when the options change."""
        ...

    async def enqueue(self, queue: str, items: Sequence[QueueItem]) -> list[str | PrismError]:
        """Store in order; return when that is done as durably as `traits` says. One result an item: its message id,
        that of the first one for a duplicate, or an error. Creates the queue. At most MAX_BATCH items. Priorities and
        times are those of the defaults where the interface is not declared."""
        ...

    async def take(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        """Remove up to `count` messages and return them: at most once. An unknown queue is empty."""
        ...

    async def peek(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        """The ready messages that would come next, without receipt; nothing changes."""
        ...

    async def counts(self, queue: str) -> Counts:
        """About, where exact numbers cost the backend more than a moment."""
        ...

    async def queues(self, limit: int) -> Sequence[str]:
        """Names of queues that hold messages, at most `limit`."""
        ...


class QueueVisibility(Protocol):
    async def lease(self, queue: str, count: int, visibility_s: float, wait_s: float) -> list[QueuedMessage]:
        """Up to `count` messages, invisible to others for `visibility_s`. After that they are ready again, within
        100 ms, with their priority, unless they go to the dead letters."""
        ...

    async def extend(self, queue: str, receipt: str, seconds: float) -> None:
        """The lease ends `seconds` from now. RECEIPT_EXPIRED. The receipt stays the same."""
        ...

    async def settle(self, queue: str, receipts: Sequence[str], settlement: Settlement) -> list[PrismError | None]:
        """End leases. One result a receipt; RECEIPT_EXPIRED for those that are over."""
        ...


class QueueDeadLetter(Protocol):
    """A message that was received `max_receives` times and not settled moves to the dead letter queue when its last
    lease ends, byte for byte, with the headers SOURCE, ERROR and RETRIES, priority kept."""

    async def configure_dead_letter(self, queue: str, dead_letter_queue: str, max_receives: int) -> None:
        """Kept at the backend: good for all proxies at once, and later. Both are given, and not empty or 0."""
        ...

    async def dead_letters(self, queue: str) -> DeadLetters:
        """Without ConfigureDeadLetter: `<queue>.dlq` and the namespace's `max_receives`."""
        ...

    async def redrive(
        self, queue: str, matching: Mapping[str, str], limit: int, cursor: bytes | None, *, dry_run: bool
    ) -> Redriven:
        """Look at up to `limit` ready messages of the queue's dead letters that came from it, from `cursor` on; move
        those whose headers include `matching` back, without the dead letter headers, as new arrivals. The model calls
        again, and sets the pace."""
        ...


class QueueDelayed(Protocol):
    async def scheduled(self, queue: str) -> Scheduled:
        """Messages not yet visible because of `deliver_at_ms`. They become ready within 100 ms of their time."""
        ...


class QueueOperations(Protocol):
    """ListQueues and DescribeQueue are `queues` and `counts`."""

    async def purge(self, queue: str) -> int:
        """Remove all messages that are there, leased and scheduled ones too; how many. Their receipts are over. What
        ConfigureDeadLetter said stays. Long work is done in slices."""
        ...


class QueueDriver(QueueBasic, QueueVisibility, QueueDeadLetter, QueueDelayed, QueueOperations, Protocol):
    """All of them. `queue_priority` and `queue_batch` have no method of their own: `enqueue` and `settle` take many."""
