"""Opens envelopes: the fields that travel as metadata, and the optional parts. The payload waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from prism_proxy._native.envelope.codec import IrregularEnvelopeError, MalformedEnvelopeError, Scan, fields, scan
from prism_proxy.envelope import attributes as attribute
from prism_proxy.envelope import wire
from prism_proxy.envelope.attributes import Attributes
from prism_proxy.envelope.errors import field_missing

if TYPE_CHECKING:
    from prism.envelope.v1 import envelope_pb2

VERSION = 1  # the newest one that this release knows; later ones are read as far as it goes
_PARTS = {4: "SecurityContext", 5: "ObservabilityContext", 6: "SchemaContext"}


class Envelope:
    """An envelope as it came: `data` are its bytes, which survive with all that this release does not know."""

    __slots__ = ("data", "head")

    def __init__(self, data: bytes, head: Scan) -> None:
        self.data = data
        self.head = head

    @property
    def payload(self) -> bytes:
        return self.head.payload

    @property
    def is_newer(self) -> bool:
        return self.head.version > VERSION

    def expired(self, now_ms: int) -> bool:
        return 0 < self.head.expires_ms <= now_ms

    def security(self) -> envelope_pb2.SecurityContext | None:
        return cast("envelope_pb2.SecurityContext | None", self._part(4))

    def observability(self) -> envelope_pb2.ObservabilityContext | None:
        return cast("envelope_pb2.ObservabilityContext | None", self._part(5))

    def schema(self) -> envelope_pb2.SchemaContext | None:
        return cast("envelope_pb2.SchemaContext | None", self._part(6))

    def _part(self, field: int) -> Any:
        body = self.head.part(field)
        if body is None:
            return None
        from google.protobuf.message import DecodeError

        from prism.envelope.v1 import envelope_pb2

        try:
            return getattr(envelope_pb2, _PARTS[field]).FromString(body)
        except DecodeError as error:
            raise MalformedEnvelopeError(f"field {field} of the envelope is malformed") from error

    def attributes(self) -> Attributes:
        """What the publisher said. Extensions that no caller of ours can have made are left out."""
        head, user = self.head, {}
        reply_to = deduplication_id = ""
        for key, value in head.extensions().items():
            if key.startswith(attribute.USER_PREFIX):
                user[key.removeprefix(attribute.USER_PREFIX)] = value.decode("utf-8", "replace")
            elif key == attribute.REPLY_TO_EXTENSION:
                reply_to = value.decode("utf-8", "replace")
            elif key == attribute.DEDUPLICATION_EXTENSION:
                deduplication_id = value.decode("utf-8", "replace")
        security = self.security()
        return Attributes(
            head.content_type, head.correlation_id, reply_to, head.priority, head.ttl_seconds, head.causality_parent,
            security is not None and security.contains_pii, "" if security is None else security.data_classification,
            deduplication_id, user=user)

    def metadata(self) -> dict[str, str]:
        """As a subscriber sees it."""
        found = self.attributes().metadata()
        found[attribute.PUBLISHED_AT] = rfc3339(self.head.published_ms)
        found[attribute.ENCODING] = self.head.content_encoding or "none"
        observability = self.observability()
        if observability is not None and observability.trace_id:
            found[attribute.TRACE_ID] = observability.trace_id
        schema = self.head.part(6)
        if schema is not None:
            found.update(_schema_headers(schema))
            found[attribute.SCHEMA_NAMESPACE] = self.head.namespace
            found[attribute.SCHEMA_PUBLISHED_AT] = found[attribute.PUBLISHED_AT]
        return found


@lru_cache(256)
def _schema_headers(body: bytes) -> Mapping[str, str]:
    """What a schema context says, as headers. The same for all messages of a schema."""
    try:
        found = wire.read(body)
    except ValueError:
        return {}
    texts = {name: found.get(number) for number, name in (
        (1, attribute.SCHEMA_URL), (2, attribute.SCHEMA_VERSION), (4, attribute.SCHEMA_HASH))}
    return {name: value.decode("utf-8", "replace") for name, value in texts.items() if isinstance(value, bytes)}


def read(data: bytes) -> Envelope:
    """MalformedEnvelopeError when the bytes are none."""
    try:
        return Envelope(data, scan(data))
    except IrregularEnvelopeError:
        regular = _regular(data)
        return Envelope(regular, scan(regular))


def recognise(data: bytes) -> Envelope | None:
    """The envelope, or None for bytes that are not one: a foreign producer's payload."""
    try:
        found = read(data)
    except MalformedEnvelopeError:
        return None
    return found if missing_field(found) is None else None


def require(envelope: Envelope) -> None:
    """PrismError ENVELOPE_FIELD_MISSING names the first required field that is not there."""
    missing = missing_field(envelope)
    if missing is not None:
        raise field_missing(missing)


def missing_field(envelope: Envelope) -> str | None:
    head = envelope.head
    if head.version < 1:
        return "envelope_version"
    if not head.has(2):
        return "metadata"
    for name in ("message_id", "topic", "namespace"):
        if not getattr(head, name):
            return f"metadata.{name}"
    return None if head.has(3) else "payload"


def rfc3339(milliseconds: int) -> str:
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """Most messages share theirs with others, and it costs more than all else that is said of a message."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _regular(data: bytes) -> bytes:
    """Parts that occur twice, merged by the protobuf runtime; what it does not know stays behind the rest."""
    from google.protobuf.message import DecodeError

    from prism.envelope.v1 import envelope_pb2

    try:
        merged: bytes = envelope_pb2.PrismEnvelope.FromString(data).SerializeToString(deterministic=True)
    except DecodeError as error:
        raise MalformedEnvelopeError("these bytes are no envelope") from error
    return in_order(merged)


def in_order(data: bytes, without: frozenset[int] = frozenset()) -> bytes:
    """The fields in the order of our writer: by number, extensions by key, the payload last; `without` some."""
    found = [(number, body) for number, body in fields(data) if number not in without]
    return b"".join(body for _, body in sorted(found, key=lambda item: (item[0] == 3, item[0], _key(*item))))


def _key(number: int, body: bytes) -> bytes:
    """What extensions are sorted by. Other fields keep their order."""
    if number != 99:
        return b""
    probe = scan(b"\x08\x01" + body).extensions()
    return next(iter(probe)).encode() if probe else b""

