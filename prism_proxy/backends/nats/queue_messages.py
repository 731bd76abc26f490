"""Messages of a queue as JetStream keeps them."""

from __future__ import annotations

import math
import time
import uuid
from collections import OrderedDict
from datetime import UTC, datetime

from prism_proxy.backends.nats import headers as wire
from prism_proxy.backends.nats.logs import Log, lifetime
from prism_proxy.backends.nats.pull import Entry
from prism_proxy.models.messages import DEDUPLICATION_SECONDS
from prism_proxy.models.queue.contract import DEFAULT_PRIORITY, QueuedMessage, QueueItem

ENQUEUED, ENQUEUED_HEADER = "prism-enqueued-at", b"Prism-Enqueued-At"  # of what the server moved or we did
REMEMBERED = 16_384
Publish = tuple[bytes, bytes | None, bytes]


def ready(log: Log, item: QueueItem) -> Publish:
    return log.subject, wire.to_wire(item.message, *lifetime(log, item.message), stored=True), item.message.data


def delayed(log: Log, base: str, item: QueueItem, now_ms: int) -> Publish:
    """A message that the server publishes to the queue when it is due."""
    message = item.message
    due = datetime.fromtimestamp(item.deliver_at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    schedule = [(b"Nats-Schedule", b"@at " + due.encode()), (b"Nats-Schedule-Target", log.subject),
                (ENQUEUED_HEADER, b"%d" % now_ms)]
    if message.expires_ms and log.lifetimes:
        lives = max(1, math.ceil((message.expires_ms - item.deliver_at_ms) / 1000))
        schedule.append((b"Nats-Schedule-TTL", b"%ds" % lives))
    subject = f"{base}.{item.deliver_at_ms}.{uuid.uuid4().hex}".encode()
    return subject, wire.to_wire(message, *schedule, stored=True), message.data


def queued(entry: Entry, receipt: str = "") -> QueuedMessage:
    """A message as it was delivered."""
    return _made(entry.headers, entry.data, entry.timestamp_ms, entry.deliveries, receipt)


def stored(headers: bytes | None, data: bytes) -> QueuedMessage:
    """A message as it was read, which is no delivery."""
    return _made(headers, data, timestamp_ms(headers), 0, "")


def _made(headers: bytes | None, data: bytes, at_ms: int, deliveries: int, receipt: str) -> QueuedMessage:
    found = wire.from_wire(headers)
    enqueued = found.pop(ENQUEUED, "")
    return QueuedMessage(data, found, wire.message_id_of(found, headers),
                         int(enqueued) if enqueued.isascii() and enqueued.isdigit() else at_ms, DEFAULT_PRIORITY,
                         deliveries, receipt)


def message_id(headers: bytes | None) -> str:
    return wire.message_id_of(wire.from_wire(headers), headers)


def sequence(headers: bytes | None) -> int:
    return int(wire.server_header(headers, b"Nats-Sequence"))


def timestamp_ms(headers: bytes | None) -> int:
    """When the server stored a message that was read."""
    text = wire.server_header(headers, b"Nats-Time-Stamp")
    head, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp()
    return int(seconds) * 1000 + int((fraction + "000")[:3])


def due_ms(subject: str) -> int:
    """Of the subject of a delayed message."""
    return int(subject.split(".")[-2])


class FirstIds:
    """The message ids that went with deduplication ids through this process."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def add(self, key: tuple[str, str], message_id: str) -> None:
        self._known[key] = message_id, time.monotonic() + DEDUPLICATION_SECONDS
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def get(self, key: tuple[str, str]) -> str | None:
        found = self._known.get(key)
        return found[0] if found is not None and found[1] > time.monotonic() else None
