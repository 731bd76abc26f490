"""Messages of a consumer, asked for in portions and answered at an inbox.

    ask --> message, message, ... (portion used up) | 404 408 nothing more now | 409 consumer changed or gone
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from prism_proxy._native.nats.connection import NatsClosed, NatsConnection, parse_headers
from prism_proxy.backends.nats.client import ACK_SUBJECTS, NAK
from prism_proxy.backends.nats.jetstream import JetStream
from prism_proxy.backends.nats.logs import NANO

ACK, TERM, PROGRESS = b"+ACK", b"+TERM", b"+WPI"
HEARTBEAT_S = 5.0
PORTION_BYTES = 8 << 20
HEARTBEAT, MORE_BYTES = 100, 0
COMPLETED, TOO_MANY_BYTES = "Batch Completed", "Message Size Exceeds MaxBytes"


class Entry(NamedTuple):
    """A message as a consumer delivers it. `reply` is where its acknowledgement goes."""

    subject: bytes
    reply: bytes
    headers: bytes | None
    data: bytes
    deliveries: int
    sequence: int
    consumer_sequence: int
    timestamp_ms: int
    pending: int


class Pull:
    """`on_entry(entry)` and `on_end(status)` are called as things come; neither may raise. Status 0: the portion is
    used up."""

    def __init__(
        self, js: JetStream, stream: str, consumer: str, on_entry: Callable[[Entry], None],
        on_end: Callable[[int], None], connection: NatsConnection | None = None,
    ) -> None:
        self._connection = connection or js.client().usable()
        self._subject = js.subject(f"CONSUMER.MSG.NEXT.{stream}.{consumer}")
        self._inbox = js.client().new_inbox()
        self._on_entry = on_entry
        self._on_end = on_end
        self._number = self._connection.subscribe(self._inbox, None, self._received)
        self.open = 0  # messages that may still come
        self.heard = False

    def ask(self, count: int, seconds: float) -> None:
        """Ask for so many; with 0 seconds for what is there now. NatsClosed."""
        wanted: dict[str, Any] = {"batch": count, "max_bytes": max(PORTION_BYTES, 2 * self._connection.max_payload)}
        if seconds:
            wanted["expires"] = int(seconds * NANO)
            if seconds > 2 * HEARTBEAT_S:
                wanted["idle_heartbeat"] = int(HEARTBEAT_S * NANO)
        else:
            wanted["no_wait"] = True
        self.open = count
        self._connection.publish(self._subject, self._inbox, None, json.dumps(wanted).encode())

    def close(self) -> None:
        """What still comes goes back at once."""
        with contextlib.suppress(NatsClosed):
            self._connection.unsubscribe(self._number)

    def _received(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        self.heard = True
        if reply is not None and reply.startswith(ACK_SUBJECTS):
            entry = entry_of(subject, reply, headers, data)
            if entry is None:
                return
            self.open -= 1
            self._on_entry(entry)
            if self.open <= 0:
                self._on_end(0)
            return
        status, why = 0, ""
        if headers is not None:
            with contextlib.suppress(ValueError):
                status, why, _ = parse_headers(headers)
        if status in (0, HEARTBEAT) or why == COMPLETED:  # of which the last message told already
            return
        self.open = 0
        self._on_end(MORE_BYTES if why == TOO_MANY_BYTES else status)


def entry_of(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> Entry | None:
    """None where the subject of the acknowledgement is none that we know."""
    tokens = reply.split(b".")
    if len(tokens) < 9:
        return None
    numbers = tokens[4:9] if len(tokens) < 11 else tokens[6:11]  # newer servers name domain and account before
    try:
        deliveries, sequence, consumer_sequence, timestamp, pending = map(int, numbers)
    except ValueError:
        return None
    return Entry(subject, reply, headers, data, deliveries, sequence, consumer_sequence, timestamp // 1_000_000,
                 pending)


def nak(delay_s: float = 0.0) -> bytes:
    """The word that gives a message back, to be delivered again after a while."""
    return NAK + (b' {"delay": %d}' % int(delay_s * NANO) if delay_s > 0 else b"")


def ack_subject(stream: str, consumer: str, sequence: int, consumer_sequence: int = 1) -> bytes:
    """Where an acknowledgement goes of a delivery that was another process's."""
    return f"$JS.ACK.{stream}.{consumer}.1.{sequence}.{consumer_sequence}.0.0".encode()
