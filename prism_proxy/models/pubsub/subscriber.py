"""The buffer of one subscription, and what happens when it is full.

    open --push--> waiting --take--> the caller
      |-- full: block (the driver waits for room), drop (counted), disconnect (SLOW_SUBSCRIBER)
      `-- ended: by the driver, Unsubscribe, a replacement, max_messages or max_duration
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prism_proxy.errors import invalid
from prism_proxy.models import assertion, inline
from prism_proxy.models.assertion import SchemaAssertion
from prism_proxy.models.buffer import Buffer
from prism_proxy.models.framing import Opened
from prism_proxy.models.messages import Active, Delivery
from prism_proxy.models.messaging_errors import slow_subscriber
from prism_proxy.models.pubsub.options import BLOCK, DISCONNECT, DROP, MAX_BYTES, MAX_MESSAGES, POLICIES, PubSubOptions
from prism_proxy.models.resume import token
from prism_runtime.configuration import units

if TYPE_CHECKING:
    from prism_proxy._native.grpc.replies import QueuedTotal

KNOWN = ("buffer_messages", "buffer_bytes", "slow_subscriber", "max_messages", "max_duration", "queue_group",
         "gap_notice", *inline.KEYS, *assertion.KEYS)
KNOWN_DURABLE = ("buffer_messages", "buffer_bytes", "max_messages", "max_duration", "ack", *inline.KEYS,
                 *assertion.KEYS)
DURABLE = b"durable"  # what a position of x-prism-resume is for
SETTLE_EVERY = 64  # messages that were written, before the position of a durable subscription follows
GAP_HEADER = "prism-gap"  # of the message that tells of a gap: how many may be missing, or "unknown"


@dataclass(frozen=True, slots=True)
class SubscriberOptions:
    """What a subscriber asked for, or the namespace's defaults. 0 = unbounded."""

    policy: str
    buffer_messages: int
    buffer_bytes: int
    max_messages: int = 0
    max_seconds: float = 0.0
    queue_group: str = ""
    gap_notice: bool = False
    explicit_ack: bool = False
    inline_bytes: int = -1  # of payloads that an object store has; -1 = what the namespace says
    schema: SchemaAssertion | None = None

    @classmethod
    def parse(
        cls, given: Mapping[str, str], defaults: PubSubOptions, *, lossy: bool, durable: bool = False
    ) -> SubscriberOptions:
        """PrismError INVALID_ARGUMENT names the key, and what it may be. Where the backend is `lossy`, block is drop. A
        durable subscription holds its log back, and loses nothing."""
        known = KNOWN_DURABLE if durable else KNOWN
        for key in given:
            if key not in known:
                raise invalid("options", f"option {key!r} is unknown: there are {', '.join(known)}", value=key)
        ack = given.get("ack", "auto")
        if ack not in ("auto", "explicit"):
            raise invalid("options", "option ack is auto or explicit", value=ack)
        policy = given.get("slow_subscriber", defaults.slow_subscriber)
        if policy not in POLICIES:
            raise invalid("options", f"option slow_subscriber is one of {', '.join(POLICIES)}", value=policy)
        gap = given.get("gap_notice", "false")
        if gap not in ("true", "false"):
            raise invalid("options", "option gap_notice is true or false", value=gap)
        return cls(
            BLOCK if durable else DROP if lossy and policy == BLOCK else policy,
            _number(given, "buffer_messages", defaults.buffer_messages, 1, MAX_MESSAGES),
            _number(given, "buffer_bytes", defaults.buffer_bytes, 1024, MAX_BYTES),
            _number(given, "max_messages", 0, 0, 2**62), _seconds(given, "max_duration"),
            given.get("queue_group", ""), gap == "true", ack == "explicit",
            inline.inline_bytes(given), assertion.parse(given))



def _number(given: Mapping[str, str], key: str, default: int, least: int, most: int) -> int:
    text = given.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise invalid("options", f"option {key} is a number from {least} to {most}", value=text)
    return int(text)


def _seconds(given: Mapping[str, str], key: str) -> float:
    text = given.get(key, "0")
    found = units.with_suffix(text, "s")
    if found is None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid("options", f"option {key} is a duration such as {units.examples('s')}", value=text)
    return float(found) if found is not None else float(text)


class Subscriber(Buffer[Delivery]):
    """The sink of one subscription. `on_drop(count)` and `on_missed(count, why)` count what it did not get."""

    fails_at_once = True

    def __init__(
        self, subscription_id: str, options: SubscriberOptions, on_drop: Callable[[int], None],
        on_missed: Callable[[int | None, str], None], total: QueuedTotal,
        accepts: Callable[[Delivery], bool] | None = None,
    ) -> None:
        """What `accepts` does not want takes no room. `total` bounds what waits for all subscribers of this process."""
        super().__init__(options.buffer_messages, options.buffer_bytes)
        self.subscription_id = subscription_id
        self.options = options
        self.active: Active | None = None
        self.delivered = 0
        self.settle: Callable[[bytes], Awaitable[None]] | None = None  # of a durable one
        self.on_given: Callable[[Opened], None] | None = None  # of messages that its acknowledgement settles
        self._accepts = accepts
        self._position = b""  # of the last message that was written
        self._unsettled = 0
        self._on_drop = on_drop
        self._on_missed = on_missed
        self._total = total

    def push(self, delivery: Delivery) -> bool:
        if self._ended or (self._accepts is not None and not self._accepts(delivery)):
            return True
        return super().push(delivery)

    def missed(self, count: int | None, why: str) -> None:
        self._on_missed(count, why)
        if self.options.gap_notice and not self._ended:
            self._waiting.append(Delivery("", b"", {GAP_HEADER: "unknown" if count is None else str(count)}))
            self._arrived.set()

    def _size(self, item: Delivery) -> int:
        return super()._size(item) if item.topic else 0  # a notice of a gap takes no room

    def _taken(self, size: int) -> bool:
        """Whether all subscribers of the process leave so much room; an empty buffer always has some."""
        if self._waiting:
            return self._total.take(size)
        self._total.hold(size)
        return True

    def _gave(self, size: int) -> None:
        self._total.give(size)

    def _full(self) -> bool:
        if self.options.policy == BLOCK:
            return super()._full()
        self._on_drop(1)
        if self.options.policy == DISCONNECT:
            self.end(slow_subscriber(len(self._waiting), self._bytes))
        return True

    # --- positions of durable subscriptions ---------------------------------------------------------------------------

    def resume(self) -> str | None:
        """Where the caller can go on; None where nothing is kept for it."""
        return token(DURABLE, self._position) if self._position else None

    async def written(self, delivery: Delivery) -> None:
        """The message is with its caller, or was skipped."""
        self._position = delivery.position
        self._unsettled += 1
        if not self._waiting or self._unsettled >= SETTLE_EVERY:
            await self.settle_written()

    async def settle_written(self) -> None:
        if self.settle is not None and self._position and self._unsettled:
            self._unsettled = 0
            await self.settle(self._position)
