"""Messages that a durable subscription was given, and that a step of the namespace follows until they are acknowledged.

An acknowledgement moves the position behind its message and all earlier ones, so it settles these too. What another
worker delivered is not known here: its objects end with their time.
"""

from __future__ import annotations

from collections import OrderedDict

from prism_proxy.models.framing import Opened

MOST = 10_000  # what is older is collected when its time is over


class FollowedMessages:
    """Of the only durable name of a namespace's topics, over changes of the configuration."""

    def __init__(self) -> None:
        self._tokens: dict[str, OrderedDict[str, str]] = {}  # by topic: message id -> token, as they were delivered
        self._count = 0

    def add(self, seen: Opened) -> None:
        if seen.followed is None or not seen.followed.token or self._count >= MOST:
            return
        found = self._tokens.setdefault(seen.topic, OrderedDict())
        self._count += seen.message_id not in found
        found[seen.message_id] = seen.followed.token

    def take(self, topic: str, message_id: str) -> list[str]:
        """The tokens of this message and those before it; none where it was delivered by another worker."""
        found = self._tokens.get(topic)
        if found is None or message_id not in found:
            return []
        taken = []
        for known in list(found):
            taken.append(found.pop(known))
            if known == message_id:
                break
        self._count -= len(taken)
        if not found:
            del self._tokens[topic]
        return taken
