"""Messages that a step of the namespace follows to their end, such as those whose payload is an object elsewhere.

Any proxy may settle any message, and knows of it what its receipt says: so the receipt carries the step's token behind
that of the driver.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from prism_proxy.errors import PrismError
from prism_proxy.models.queue.contract import DeadLetters

SEPARATOR = "~"
KNOWN_S = 5.0  # for how long the number of receives of a queue is believed
MAX_QUEUES = 1024


def join(receipt: str, token: str) -> str:
    return f"{receipt}{SEPARATOR}{token}"


def split(receipt: str) -> tuple[str, str]:
    """(the driver's receipt, the token), also of a receipt that was made before a step followed messages."""
    before, separator, token = receipt.rpartition(SEPARATOR)
    return (before, token) if separator else (receipt, "")


class LastReceive:
    """How often a message of a queue is delivered before it becomes a dead letter, as the backend has it."""

    def __init__(self, ask: Callable[[str], Awaitable[DeadLetters]]) -> None:
        self._ask = ask
        self._known: dict[str, tuple[float, int]] = {}

    async def most(self, queue: str) -> float:
        """Infinite where messages never become dead letters; 0 while nobody can tell."""
        now = time.monotonic()
        at, found = self._known.get(queue, (-KNOWN_S, 0))
        if now - at >= KNOWN_S:
            try:
                found = (await self._ask(queue)).max_receives
            except PrismError:
                return 0.0
            if len(self._known) >= MAX_QUEUES:
                self._known.clear()
            self._known[queue] = (now, found)
        return found or float("inf")
