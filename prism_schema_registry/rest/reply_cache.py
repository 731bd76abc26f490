"""Replies to GETs as they are sent, until something changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

KEPT_BYTES = 16 * 1024 * 1024
MAX_REPLY_BYTES = 64 * 1024


class ReplyCache:
    """`revision()` differs after every change of what replies are made of."""

    def __init__(self, revision: Callable[[], int]) -> None:
        self._revision = revision
        self._of = -1
        self._size = 0
        self._replies: dict[bytes, tuple[bytes, str]] = {}
        self.hits: Counter[str] = Counter()  # by operation

    def get(self, target: bytes) -> bytes | None:
        """The reply to a path with its query."""
        if self._of != self._revision():
            self._forget()
        found = self._replies.get(target)
        if found is None:
            return None
        self.hits[found[1]] += 1
        return found[0]

    def put(self, target: bytes, reply: bytes, operation: str, revision: int) -> None:
        """Keep a reply that was made of a revision, while that is current."""
        if self._of != self._revision():
            self._forget()
        cost = _cost(target, reply)
        if revision != self._of or len(reply) > MAX_REPLY_BYTES or target in self._replies:
            return
        self._replies[target] = reply, operation
        self._size += cost
        while self._size > KEPT_BYTES:  # the oldest goes
            oldest = next(iter(self._replies))
            self._size -= _cost(oldest, self._replies.pop(oldest)[0])

    def _forget(self) -> None:
        self._replies.clear()
        self._size = 0
        self._of = self._revision()


def _cost(target: bytes, reply: bytes) -> int:
    return len(reply) + len(target) + 200
