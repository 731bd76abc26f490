"""The fields of an envelope that a caller sets, and sees, as metadata `prism-*` of a call. Other keys are its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from prism_proxy.envelope import wire
from prism_proxy.errors import PrismError, StatusCode, invalid

CONTENT_TYPE = "prism-content-type"
CORRELATION_ID = "prism-correlation-id"
REPLY_TO = "prism-reply-to"
PRIORITY = "prism-priority"
TTL_SECONDS = "prism-ttl-seconds"
CAUSALITY_PARENT = "prism-causality-parent"
CONTAINS_PII = "prism-contains-pii"
DATA_CLASSIFICATION = "prism-data-classification"
DEDUPLICATION_ID = "prism-deduplication-id"
ENVELOPE = "prism-envelope"
SETTABLE = frozenset({CONTENT_TYPE, CORRELATION_ID, REPLY_TO, PRIORITY, TTL_SECONDS, CAUSALITY_PARENT, CONTAINS_PII,
                      DATA_CLASSIFICATION, DEDUPLICATION_ID, ENVELOPE})
# seen at delivery, never taken from a caller
PUBLISHED_AT = "prism-published-at"
TRACE_ID = "prism-trace-id"
ENCODING = "prism-encoding"
SCHEMA_URL = "X-Prism-Schema-URL"
SCHEMA_VERSION = "X-Prism-Schema-Version"
SCHEMA_HASH = "X-Prism-Schema-Hash"
SCHEMA_NAMESPACE = "X-Prism-Namespace"
SCHEMA_PUBLISHED_AT = "X-Prism-Published-At"

USER_PREFIX = "x-meta-"  # of a caller's own key among the extensions
REPLY_TO_EXTENSION = "x-reply-to"
DEDUPLICATION_EXTENSION = "x-deduplication-id"

MAX_ENTRIES = 64
MAX_BYTES = 8 * 1024
MAX_DEDUPLICATION_BYTES = 128
DEFAULT_PRIORITY = 5
MAX_PRIORITY = 10
MAX_TTL_SECONDS = 100 * 365 * 86_400
CLASSIFICATIONS = ("public", "internal", "confidential", "restricted")
ENCRYPTED_CLASSIFICATIONS = frozenset({"confidential", "restricted"})
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a caller said of a message. `user` are its own keys, unchanged. `priority` 0 reads as 5."""

    content_type: str = ""
    correlation_id: str = ""
    reply_to: str = ""
    priority: int = 0
    ttl_seconds: int = 0
    causality_parent: str = ""
    contains_pii: bool = False
    data_classification: str = ""
    deduplication_id: str = ""
    is_envelope: bool = False
    user: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    def tail(self, content_encoding: str = "") -> bytes:
        """The fields 5 to 10 of the metadata, encoded."""
        return (wire.text(5, self.content_type) + wire.text(6, content_encoding) + wire.number(7, self.priority)
                + wire.number(8, self.ttl_seconds) + wire.text(9, self.correlation_id)
                + wire.text(10, self.causality_parent))

    def extensions(self) -> dict[str, bytes]:
        found = {USER_PREFIX + key: value.encode() for key, value in self.user.items()}
        if self.reply_to:
            found[REPLY_TO_EXTENSION] = self.reply_to.encode()
        if self.deduplication_id:
            found[DEDUPLICATION_EXTENSION] = self.deduplication_id.encode()
        return found

    def metadata(self) -> dict[str, str]:
        """As a subscriber sees them: the caller's keys, and those of prism-* that are set."""
        if self is PLAIN:
            return {}
        found = dict(self.user)
        for name, value in ((CONTENT_TYPE, self.content_type), (CORRELATION_ID, self.correlation_id),
                            (REPLY_TO, self.reply_to), (CAUSALITY_PARENT, self.causality_parent),
                            (DATA_CLASSIFICATION, self.data_classification), (DEDUPLICATION_ID, self.deduplication_id)):
            if value:
                found[name] = value
        if self.priority:
            found[PRIORITY] = str(self.priority)
        if self.ttl_seconds:
            found[TTL_SECONDS] = str(self.ttl_seconds)
        if self.contains_pii:
            found[CONTAINS_PII] = "true"
        return found


PLAIN = Attributes()


def parse(metadata: Mapping[str, str]) -> Attributes:
    """PrismError INVALID_ARGUMENT for keys that are not the caller's to set, and for values that say nothing."""
    if not metadata:
        return PLAIN
    _check_size(metadata)
    ours: dict[str, str] = {}
    user: dict[str, str] = {}
    for key, value in metadata.items():
        _check_entry(key, value)
        (ours if key in SETTABLE else user)[key] = value
    if not ours:
        return Attributes(user=user)
    return Attributes(
        content_type=ours.get(CONTENT_TYPE, ""), correlation_id=ours.get(CORRELATION_ID, ""),
        reply_to=ours.get(REPLY_TO, ""), priority=_number(ours, PRIORITY, MAX_PRIORITY),
        ttl_seconds=_number(ours, TTL_SECONDS, MAX_TTL_SECONDS), causality_parent=ours.get(CAUSALITY_PARENT, ""),
        contains_pii=_boolean(ours, CONTAINS_PII), data_classification=_classification(ours),
        deduplication_id=_deduplication_id(ours), is_envelope=_boolean(ours, ENVELOPE), user=user)


def _check_size(metadata: Mapping[str, str]) -> None:
    if len(metadata) > MAX_ENTRIES:
        raise invalid("metadata", f"a message has at most {MAX_ENTRIES} metadata entries, this one {len(metadata)}")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size > MAX_BYTES:
        raise invalid("metadata", f"the metadata of a message has at most {MAX_BYTES} bytes, this one {size}")


def _check_entry(key: str, value: str) -> None:
    lower = key.lower()
    if not key:
        raise invalid("metadata", "a metadata key is empty")
    if lower.startswith("nats-"):
        raise invalid("metadata", f"metadata {key!r}: keys that begin with Nats- belong to the broker", value=key)
    if lower.startswith(("prism-", "x-prism-")) and key not in SETTABLE:
        raise invalid("metadata", f"metadata {key!r} is not a caller's to set; those are {', '.join(sorted(SETTABLE))}",
                      value=key)
    if has_control(key) or has_control(value):
        raise invalid("metadata", f"metadata {key!r} holds a control character", value=key)


def has_control(text: str) -> bool:
    """C0, DEL and C1: what could end a line or a token of a broker's protocol."""
    return not text.isprintable() and any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)


def _number(ours: Mapping[str, str], key: str, maximum: int) -> int:
    value = ours.get(key, "")
    if not value:
        return 0
    if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= maximum):
        raise invalid("metadata", f"metadata {key} is a number from 0 to {maximum}", value=value)
    return int(value)


def _boolean(ours: Mapping[str, str], key: str) -> bool:
    value = ours.get(key, "")
    if value not in ("", "true", "false"):
        raise invalid("metadata", f"metadata {key} is true or false", value=value)
    return value == "true"


def _classification(ours: Mapping[str, str]) -> str:
    value = ours.get(DATA_CLASSIFICATION, "")
    if value and value not in CLASSIFICATIONS:
        raise invalid("metadata", f"metadata {DATA_CLASSIFICATION} is one of {', '.join(CLASSIFICATIONS)}", value=value)
    return value


def _deduplication_id(ours: Mapping[str, str]) -> str:
    value = ours.get(DEDUPLICATION_ID, "")
    if len(value.encode()) > MAX_DEDUPLICATION_BYTES:
        raise PrismError(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT",
                         f"metadata {DEDUPLICATION_ID} has at most {MAX_DEDUPLICATION_BYTES} bytes",
                         field_name="metadata")
    return value
