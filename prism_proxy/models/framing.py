"""Between a message as callers see it and as a backend carries it.

A backend that keeps parts gets payload and metadata as they are; one with headers or bytes alone gets an envelope. What
is delivered is recognised message by message, so that other programs' messages arrive too, as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prism_proxy._native.envelope import new_message_id, now_ms
from prism_proxy.envelope import attributes, reader, relay
from prism_proxy.envelope.errors import encryption_required
from prism_proxy.envelope.parts import observability_of
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.messages import ERROR_HEADER, RETRIES_HEADER, SOURCE_HEADER, Carrier, StoredMessage

VERSION_HEADER = "prism-envelope-version"
DEAD_LETTER_HEADERS = (SOURCE_HEADER, ERROR_HEADER, RETRIES_HEADER)
MAX_WRITERS = 1024


@dataclass(slots=True)
class Opened:
    """A message as a subscriber sees it. `wire` is what a servicer sends of it, made for the first subscriber."""

    payload: bytes
    metadata: Mapping[str, str]
    message_id: str
    published_ms: int
    topic: str
    wire: Any = field(default=None, compare=False, repr=False)


class Framing:
    """`max_bytes` bounds a payload; `setting` is the name of that bound in errors."""

    def __init__(self, namespace: str, carrier: Carrier, max_bytes: int, setting: str) -> None:
        self._namespace = namespace
        self._carrier = carrier
        self._max_bytes = max_bytes
        self._setting = setting
        self._writers: dict[str, EnvelopeWriter] = {}

    def frame(self, topic: str, payload: bytes, metadata: Mapping[str, str], traceparent: str = "") -> StoredMessage:
        """The message as the backend gets it. PrismError for metadata, sizes and envelopes that cannot pass."""
        if len(payload) > self._max_bytes:
            raise self._too_large(len(payload))
        found = attributes.parse(metadata)
        if found.is_envelope:
            return self._admitted(topic, payload)
        if found.data_classification in attributes.ENCRYPTED_CLASSIFICATIONS:
            raise encryption_required(found.data_classification)
        message_id, now = new_message_id(), now_ms()
        expires = now + found.ttl_seconds * 1000 if found.ttl_seconds else 0
        observability = observability_of(traceparent) if traceparent else None
        if self._carrier is Carrier.PARTS:
            headers = found.metadata()
            if observability is not None:
                headers[attributes.TRACE_ID] = observability.trace_id
            return StoredMessage(message_id, payload, headers, now, expires, found.deduplication_id)
        data = self._writer(topic).write(payload, found, message_id=message_id, published_ms=now,
                                         observability=observability)
        headers = self._copies(topic, message_id, found.metadata())
        return StoredMessage(message_id, data, headers, now, expires, found.deduplication_id)

    def open(
        self, topic: str, data: bytes, headers: Mapping[str, str], message_id: str, published_ms: int
    ) -> Opened | None:
        """The message as its receiver sees it; None when it has expired."""
        if self._carrier is not Carrier.PARTS or VERSION_HEADER in headers:
            envelope = reader.recognise(data)
            if envelope is not None:
                if envelope.expired(now_ms()):
                    return None
                seen = envelope.metadata()
                seen.update((key, headers[key]) for key in DEAD_LETTER_HEADERS if key in headers)
                return Opened(envelope.payload, seen, envelope.head.message_id, envelope.head.published_ms, topic)
        ttl = headers.get(attributes.TTL_SECONDS, "")
        if ttl.isdigit() and published_ms and published_ms + int(ttl) * 1000 <= now_ms():
            return None
        seen = dict(headers)
        if published_ms:
            seen[attributes.PUBLISHED_AT] = reader.rfc3339(published_ms)
        seen[attributes.ENCODING] = "none"
        return Opened(data, seen, message_id, published_ms, topic)

    def _admitted(self, topic: str, payload: bytes) -> StoredMessage:
        """An envelope that the caller made itself."""
        envelope = relay.admit(payload, self._namespace, topic)
        head = envelope.head
        deduplication_id = envelope.attributes().deduplication_id
        headers = self._copies(topic, head.message_id, envelope.attributes().metadata())
        return StoredMessage(head.message_id, envelope.data, headers, head.published_ms or now_ms(), head.expires_ms,
                             deduplication_id)

    def _copies(self, topic: str, message_id: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """What brokers' own tools see of an envelope."""
        if self._carrier is Carrier.BYTES:
            return {}
        return {**metadata, VERSION_HEADER: "1", "prism-message-id": message_id, "prism-topic": topic}

    def _writer(self, topic: str) -> EnvelopeWriter:
        found = self._writers.get(topic)
        if found is None:
            if len(self._writers) >= MAX_WRITERS:
                self._writers.clear()
            found = self._writers[topic] = EnvelopeWriter(self._namespace, topic)
        return found

    def _too_large(self, size: int) -> PrismError:
        return PrismError(
            StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
            f"the payload has {size} bytes, and {self._setting} is {self._max_bytes}: raise it, or send large payloads "
            "by claim check", {"outcome": "not_executed"}, field_name="payload")
