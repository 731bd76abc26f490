"""The settings of the group `pubsub` of a namespace."""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy.models.pubsub.contract import PubSubSettings
from prism_runtime.settings import check, setting

BLOCK, DROP, DISCONNECT = "block", "drop", "disconnect"
POLICIES = (BLOCK, DROP, DISCONNECT)
MAX_MESSAGES = 65_536
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PubSubOptions:
    """Subscriptions of a namespace. A subscriber may ask for less than these buffers, and for another policy."""

    slow_subscriber: str = setting(
        "What happens when a subscriber's buffer is full: publishers wait (block), messages are dropped for it and "
        "counted (drop), or its subscription ends (disconnect). Where the broker cannot be held back, block is drop.",
        DROP, choices=POLICIES)
    buffer_messages: int = setting("Messages that may wait for one subscriber.", MAX_MESSAGES, minimum=1,
                                   maximum=MAX_MESSAGES, unit="messages")
    buffer_bytes: int = setting("Bytes that may wait for one subscriber.", MAX_BYTES, minimum=1024,
                                maximum=MAX_BYTES, unit="bytes")

    log_max_age: float = setting("How long the log of a topic keeps messages; 0 has no bound.", 86_400.0, minimum=0,
                                 maximum=3.2e9, unit="s")
    log_max_bytes: int = setting("Bytes that the log of a topic keeps at most; 0 has no bound.", 0, minimum=0,
                                 maximum=2**50, unit="bytes")
    log_max_messages: int = setting("Messages that the log of a topic keeps at most; 0 has no bound.", 0, minimum=0,
                                    maximum=2**50, unit="messages")

    def __post_init__(self) -> None:
        check(self)

    def settings(self) -> PubSubSettings:
        return PubSubSettings(self.log_max_age, self.log_max_bytes, self.log_max_messages)
