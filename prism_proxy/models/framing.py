"""Between a message as callers see it and as a backend carries it.

    publish: metadata and payload -> the namespace's steps -> parts, envelope, headers or the payload alone
    consume: what the message itself says it is           -> the steps, the other way round -> metadata and payload

A backend that keeps parts gets payload and metadata as they are; for one with headers or bytes alone the namespace's
`envelope.mode` decides. What is delivered is recognised message by message, so that other programs' messages arrive
too, as they are.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prism_proxy._native.envelope.codec import MalformedEnvelopeError, new_message_id, now_ms
from prism_proxy.contracts.steps import STEP_HEADERS, Offloaded, PassingMessage
from prism_proxy.envelope import attributes, reader, relay, wire
from prism_proxy.envelope.attributes import Attributes
from prism_proxy.envelope.errors import encryption_required, malformed, signature_invalid
from prism_proxy.envelope.parts import Encryption, Observability, Schema, Security, observability_of
from prism_proxy.envelope.reader import Envelope
from prism_proxy.envelope.signature import load_key, verify
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.models.messages import (
    DEAD_LETTER_SUFFIX,
    ERROR_HEADER,
    NAMESPACE_HEADER,
    RETRIES_HEADER,
    SOURCE_HEADER,
    TOPIC_HEADER,
    VERSION_HEADER,
    Carrier,
    StoredMessage,
    Traits,
)
from prism_proxy.models.messaging_options import ALWAYS, RAW, EnvelopeOptions, MessagingOptions
from prism_proxy.slots.chain import Chain
from prism_proxy.slots.composition import Surroundings
from prism_runtime import log

ID_HEADER = "prism-message-id"
PUBLISHER_HEADER = "prism-publisher-id"
ENCRYPTION_HEADER = "prism-encryption"
NOTE_PREFIX = "prism-note-"
MESSAGE_SCHEMA = "x-prism-message-schema"
SCHEMA_DEPRECATED = "x-prism-schema-deprecated"
DEAD_LETTER_HEADERS = (SOURCE_HEADER, ERROR_HEADER, RETRIES_HEADER)
_HIDDEN = frozenset({VERSION_HEADER, ID_HEADER, TOPIC_HEADER, NAMESPACE_HEADER, PUBLISHER_HEADER, ENCRYPTION_HEADER})
MAX_WRITERS = 1024
MAX_REASON = 1024  # characters of it that a dead letter has
_WITH_PII = Attributes(contains_pii=True)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who publishes, by a verified certificate or empty, and within which trace."""

    publisher_id: str = ""
    traceparent: str = ""


NOBODY = Origin()


@dataclass(slots=True)
class Opened:
    """A message as a subscriber sees it. `passing` still has to go through the namespace's steps, which make the
    payload of it; `followed` is set where one of them wants to hear how the message ends. `wire` is what a servicer
    sends of it, made for the first subscriber."""

    payload: bytes
    metadata: Mapping[str, str]
    message_id: str
    published_ms: int
    topic: str
    passing: PassingMessage | None = None
    followed: PassingMessage | None = None
    expires_ms: int = 0
    wire: Any = field(default=None, compare=False, repr=False)


class Rejected(Exception):  # noqa: N818 - a verdict, which the model acts upon
    """A message that never opens."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Framing:
    """What the backend's `traits` and the namespace's options make of messages. What is `kept` stays for as long as its
    stream keeps it. PrismError when the key of signatures cannot be read."""

    def __init__(self, surroundings: Surroundings, traits: Traits, *, kept: bool = False) -> None:
        self._kept = kept
        self._namespace = surroundings.namespace
        self._chain = surroundings.chain
        self._carrier = traits.carrier
        most = surroundings.group("messaging", MessagingOptions).max_bytes
        self._max_bytes = min(most, traits.max_bytes or most)
        self._setting = "messaging.max_bytes" if self._max_bytes == most else "the broker's own limit"
        self._envelope = surroundings.group("envelope", EnvelopeOptions)
        self._key = _key(surroundings.namespace, self._envelope)
        self._writers: dict[str, EnvelopeWriter] = {}
        self._declaring = self._chain.declaring
        self._schema: Schema | None = None
        self._schema_headers: dict[str, str] = {}

    @property
    def max_bytes(self) -> int:
        """Of a payload."""
        return self._max_bytes

    @property
    def wraps(self) -> bool:
        """Whether the backend gets envelopes."""
        return self._carrier is not Carrier.PARTS and self._envelope.mode == ALWAYS

    @property
    def bare(self) -> bool:
        """Whether the backend gets payloads alone."""
        return not self.wraps and (self._carrier is Carrier.BYTES or (
            self._carrier is Carrier.HEADERS and self._envelope.mode == RAW))

    @property
    def signs(self) -> bool:
        return self._key is not None

    @property
    def steps(self) -> bool:
        """Whether messages pass steps, so that each receiver opens its own."""
        return bool(self._chain.messages)

    @property
    def chain(self) -> Chain:
        return self._chain

    @property
    def followed(self) -> bool:
        """Whether a step wants to hear how messages end."""
        return bool(self._chain.followers)

    async def dying(self, opened: Opened | None) -> None:
        """The message may become a dead letter from here on."""
        passing = (opened.followed or opened.passing) if opened is not None else None
        if passing is not None and passing.token:
            await self._chain.dying(passing)

    async def settled(self, topic: str, token: str) -> None:
        """The only reader of a message is done with it."""
        if token:
            await self._chain.settled(topic, token)

    @property
    def plain(self) -> bool:
        """Whether messages reach the backend as they are framed: native handlers know no steps."""
        return not self._chain.steps

    @property
    def reader_metadata(self) -> tuple[tuple[str, str], ...]:
        """What the initial metadata of a subscription or read says of its messages: their format and type, and the
        deprecated fields, of which the log has a line for each subscription too."""
        schema = self._chain.schema
        if schema is None:
            return ()
        found = [(MESSAGE_SCHEMA, f"{schema.format}:{schema.name}")]
        deprecated: str = getattr(self._declaring, "deprecated", "")
        if deprecated:
            found.append((SCHEMA_DEPRECATED, deprecated))
            log.get("prism.schema").warning("a subscriber reads messages with deprecated fields",
                                            namespace=self._namespace, version=schema.version, fields=deprecated)
        return tuple(found)

    def check_dead_letters(self, name: str) -> None:
        """PrismError when messages that are moved to the queue of this name would not open there."""
        self._chain.check_dead_letters(name)

    # --- publish ------------------------------------------------------------------------------------------------------

    async def frame(
        self, topic: str, payload: bytes, metadata: Mapping[str, str], origin: Origin = NOBODY, *, waits_s: float = 0.0,
        passed: list[PassingMessage] | None = None,
    ) -> StoredMessage:
        """The message as the backend gets it. PrismError for metadata, sizes and envelopes that cannot pass. Where
        steps follow messages, one that passed them is appended to `passed`: see `Publishing`."""
        if len(payload) > max(self._max_bytes, self._chain.max_bytes):
            raise self._too_large(len(payload))
        said = attributes.parse(metadata)
        self._check_steps()
        if said.is_envelope:
            if len(payload) > self._max_bytes:
                raise self._too_large(len(payload))
            return self._admitted(topic, payload, said, origin)
        message_id = payload.message_id if isinstance(payload, Offloaded) else new_message_id()
        passing = PassingMessage(topic, message_id, payload, said.user, content_type=said.content_type,
                                 limit=self._max_bytes, waits_s=waits_s)
        declaring = self._declaring
        if declaring is not None and (declaring.schema is not self._schema or declaring.contains_pii):
            said = self._declared(said)
        if self._chain.checks:
            self._chain.check(passing)
            if passing.dead_letter:
                said = self._to_dead_letters(passing, said)
        if self._chain.messages:
            await self._chain.publish(passing)
            if passed is not None:
                passed.append(passing)
        if said.data_classification in attributes.ENCRYPTED_CLASSIFICATIONS and passing.encryption is None:
            raise encryption_required(said.data_classification)
        stored = self._stored(passing, said, origin, now_ms())
        return replace(stored, moved_to=passing.topic) if passing.dead_letter else stored

    def _declared(self, said: Attributes) -> Attributes:
        """Follow the namespace's schema, which may have changed; a message has personal data where its schema has."""
        schema = self._chain.schema
        if schema is not self._schema:
            self._schema = schema
            self._writers.clear()
            self._schema_headers = {} if schema is None else {
                attributes.SCHEMA_URL: schema.url, attributes.SCHEMA_VERSION: schema.version,
                attributes.SCHEMA_HASH: schema.hash, attributes.SCHEMA_NAMESPACE: self._namespace}
        if not self._declaring.contains_pii or said.contains_pii:
            return said
        return _WITH_PII if said is attributes.PLAIN else replace(said, contains_pii=True)

    def _to_dead_letters(self, passing: PassingMessage, said: Attributes) -> Attributes:
        """Publish the message to the dead letters of its topic: with where it was to go, and why it does not."""
        user = {**said.user, SOURCE_HEADER: passing.topic, ERROR_HEADER: passing.dead_letter[:MAX_REASON]}
        passing.topic += DEAD_LETTER_SUFFIX
        return replace(said, user=user)

    def _check_steps(self) -> None:
        """Nothing is stored in plaintext where a step should have changed it."""
        if self._chain.values_only:
            raise PrismError(
                StatusCode.UNIMPLEMENTED, "ENCRYPTED_NAMESPACE",
                f"namespace {self._namespace!r} has the step {', '.join(self._chain.values_only)}, which messages "
                "cannot pass: publish in a namespace without it", {"namespace": self._namespace})

    def _stored(self, passing: PassingMessage, said: Attributes, origin: Origin, now: int) -> StoredMessage:
        trace = observability_of(origin.traceparent) if origin.traceparent else None
        expires = now + said.ttl_seconds * 1000 if said.ttl_seconds else 0
        if self._carrier is Carrier.PARTS:
            data, headers = passing.payload, self._in_headers(passing, said, origin, trace)
        elif self._envelope.mode == ALWAYS or (self._carrier is Carrier.BYTES and self._chain.messages):
            data = self._wrapped(passing, said, origin, trace, now)
            headers = self._copies(passing.topic, passing.message_id, said.metadata() | passing.headers, trace)
        elif self._envelope.mode == RAW or self._carrier is Carrier.BYTES:
            data, headers = passing.payload, {}
        else:
            data = passing.payload
            headers = self._in_headers(passing, said, origin, trace) | {
                ID_HEADER: passing.message_id, TOPIC_HEADER: passing.topic, NAMESPACE_HEADER: self._namespace,
                attributes.PUBLISHED_AT: reader.rfc3339(now)}
        return StoredMessage(passing.message_id, data, headers, now, expires, said.deduplication_id)

    def _wrapped(
        self, passing: PassingMessage, said: Attributes, origin: Origin, trace: Observability | None, now: int
    ) -> bytes:
        security = None
        if origin.publisher_id or passing.encryption is not None:
            security = Security(origin.publisher_id, encryption=passing.encryption)
        return self._writer(passing.topic).write(
            passing.payload, said, message_id=passing.message_id, published_ms=now, security=security,
            observability=trace, content_encoding=passing.content_encoding,
            extensions={NOTE_PREFIX + key: value.encode() for key, value in passing.notes.items()} | {
                key: value.encode() for key, value in passing.headers.items()})

    def _in_headers(
        self, passing: PassingMessage, said: Attributes, origin: Origin, trace: Observability | None
    ) -> dict[str, str]:
        """All that an envelope would say."""
        found = dict(self._schema_headers)
        if said is not attributes.PLAIN:
            found.update(said.metadata())
        if trace is not None:
            found[attributes.TRACE_ID] = trace.trace_id
        if passing.content_encoding:
            found[attributes.ENCODING] = passing.content_encoding
        if origin.publisher_id:
            found[PUBLISHER_HEADER] = origin.publisher_id
        if passing.encryption is not None:
            found[ENCRYPTION_HEADER] = b64encode(passing.encryption.encode()).decode()
        if passing.notes:
            found.update({NOTE_PREFIX + key: value for key, value in passing.notes.items()})
        found.update(passing.headers)
        return found

    def _admitted(self, topic: str, payload: bytes, said: Attributes, origin: Origin) -> StoredMessage:
        """An envelope that the caller made itself."""
        envelope = relay.admit(payload, self._namespace, topic, origin.publisher_id)
        if self._key is not None:
            verify(envelope, self._key, required=self._envelope.signature_required)
        head, inner = envelope.head, envelope.attributes()
        try:
            passing = self._passing(topic, envelope, {}, wanted=bool(self._chain.messages or self._chain.checks))
        except MalformedEnvelopeError as error:
            raise malformed(str(error)) from error
        if passing is not None:
            self._chain.admit(passing)
            if passing.dead_letter:
                raise invalid("payload", "the payload of the envelope does not follow its schema: "
                              f"{passing.dead_letter}", reason="SCHEMA_VIOLATION")
        encrypted = passing.encryption if passing is not None else _encryption_within(envelope)
        if inner.data_classification in attributes.ENCRYPTED_CLASSIFICATIONS and encrypted is None:
            raise encryption_required(inner.data_classification)
        headers = {VERSION_HEADER: "1"} if self._carrier is Carrier.PARTS else self._copies(
            topic, head.message_id, inner.metadata(), None)
        return StoredMessage(head.message_id, envelope.data, headers, head.published_ms or now_ms(), head.expires_ms,
                             said.deduplication_id or inner.deduplication_id)

    def _copies(
        self, topic: str, message_id: str, metadata: Mapping[str, str], trace: Observability | None
    ) -> dict[str, str]:
        """What brokers' own tools see of an envelope."""
        if self._carrier is Carrier.BYTES:
            return {}
        found = {**metadata, VERSION_HEADER: "1", ID_HEADER: message_id, TOPIC_HEADER: topic}
        if trace is not None:
            found[attributes.TRACE_ID] = trace.trace_id
        return found

    def _writer(self, topic: str) -> EnvelopeWriter:
        found = self._writers.get(topic)
        if found is None:
            if len(self._writers) >= MAX_WRITERS:
                self._writers.clear()
            signer = self._key if getattr(self._key, "private", self._key) is not None else None
            found = self._writers[topic] = EnvelopeWriter(self._namespace, topic, self._schema, signer=signer)
        return found

    def _too_large(self, size: int) -> PrismError:
        return PrismError(
            StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
            f"the payload has {size} bytes, and {self._setting} is {self._max_bytes}: raise it, or send large payloads "
            "by claim check", {"outcome": "not_executed"}, field_name="payload")

    # --- consume ------------------------------------------------------------------------------------------------------

    def open(
        self, topic: str, data: bytes, headers: Mapping[str, str], message_id: str, published_ms: int
    ) -> Opened | None:
        """The message as its receiver sees it; None when it has expired. Rejected when it has no valid signature."""
        envelope = self._recognised(data, headers)
        if envelope is not None:
            return self._from_envelope(topic, envelope, headers)
        if self._key is not None and self._envelope.signature_required and self._carrier is not Carrier.PARTS:
            raise Rejected(signature_invalid("it has none").reason)
        return self._from_headers(topic, data, headers, message_id, published_ms)

    async def consume(self, opened: Opened, inline_bytes: int = -1) -> Opened:
        """Let the message pass the steps; its receiver takes a payload of up to `inline_bytes`. StepFailure has their
        verdict."""
        if opened.passing is not None and self._chain.messages:
            opened.passing.inline_bytes = inline_bytes
            await self._chain.consume(opened.passing)
            passing, opened.passing = opened.passing, None
            opened.payload = passing.payload
            if passing.added:
                opened.metadata = {**opened.metadata, **passing.added}
            if passing.token:
                opened.followed = passing
        return opened

    def _recognised(self, data: bytes, headers: Mapping[str, str]) -> Envelope | None:
        if VERSION_HEADER in headers or (self._carrier is not Carrier.PARTS and ID_HEADER not in headers):
            return reader.recognise(data)
        return None

    def _from_envelope(self, topic: str, envelope: Envelope, headers: Mapping[str, str]) -> Opened | None:
        if envelope.expired(now_ms()):
            return None
        try:
            if self._key is not None:
                verify(envelope, self._key, required=self._envelope.signature_required)
            seen = envelope.metadata()
            passing = self._passing(topic, envelope, headers, wanted=bool(self._chain.messages))
        except (MalformedEnvelopeError, PrismError) as error:
            raise Rejected(error.reason if isinstance(error, PrismError) else "ENVELOPE_MALFORMED") from error
        seen.update((key, headers[key]) for key in DEAD_LETTER_HEADERS if key in headers)
        return Opened(envelope.payload, seen, envelope.head.message_id, envelope.head.published_ms, topic, passing,
                      expires_ms=envelope.head.expires_ms)

    def _passing(
        self, topic: str, envelope: Envelope, headers: Mapping[str, str], *, wanted: bool
    ) -> PassingMessage | None:
        if not wanted:
            return None
        head = envelope.head
        notes = {key.removeprefix(NOTE_PREFIX): value.decode("utf-8", "replace")
                 for key, value in head.extensions().items() if key.startswith(NOTE_PREFIX)}
        return PassingMessage(
            topic, head.message_id, envelope.payload, envelope.attributes().user, head.content_encoding,
            _encryption_within(envelope), notes=notes, source=headers.get(SOURCE_HEADER, ""), kept=self._kept,
            content_type=envelope.attributes().content_type, limit=self._max_bytes, headers={
                key: value.decode("utf-8", "replace") for key, value in head.extensions().items()
                if key in STEP_HEADERS})


    def _from_headers(
        self, topic: str, data: bytes, headers: Mapping[str, str], message_id: str, published_ms: int
    ) -> Opened | None:
        ours = self._carrier is Carrier.PARTS or ID_HEADER in headers
        ttl = headers.get(attributes.TTL_SECONDS, "") if ours else ""
        expires_ms = published_ms + int(ttl) * 1000 if ttl.isdigit() and published_ms else 0
        if expires_ms and expires_ms <= now_ms():
            return None
        hidden = _HIDDEN | STEP_HEADERS if self._chain.messages else _HIDDEN
        seen = {key: value for key, value in headers.items() if key not in hidden and not key.startswith(NOTE_PREFIX)}
        if published_ms:
            seen[attributes.PUBLISHED_AT] = reader.rfc3339(published_ms)
        if attributes.SCHEMA_URL in headers and attributes.PUBLISHED_AT in seen:
            seen[attributes.SCHEMA_PUBLISHED_AT] = seen[attributes.PUBLISHED_AT]
        seen.setdefault(attributes.ENCODING, "none")
        message_id = message_id or headers.get(ID_HEADER, "")
        passing = None
        if self._chain.messages:
            passing = PassingMessage(
                topic, message_id, data, seen, headers.get(attributes.ENCODING, "") if ours else "",
                _encryption_in(headers), notes={key.removeprefix(NOTE_PREFIX): value for key, value in headers.items()
                                                if key.startswith(NOTE_PREFIX)},
                source=headers.get(SOURCE_HEADER, ""), kept=self._kept, limit=self._max_bytes,
                content_type=seen.get(attributes.CONTENT_TYPE, ""),
                headers={key: value for key, value in headers.items() if key in STEP_HEADERS})
        return Opened(data, seen, message_id, published_ms, topic, passing, expires_ms=expires_ms)


def origin_of(context: Any) -> Origin:
    """Who calls, by its certificate, and within which trace."""
    sent = [str(value) for key, value in context.invocation_metadata() or () if key == "traceparent"]
    traceparent = sent[0] if len(sent) == 1 else ""  # more than one continue nothing
    identities = context.peer_identities()
    publisher = next(iter(identities), b"") if identities else b""
    return Origin(publisher.decode("utf-8", "replace"), traceparent) if publisher or traceparent else NOBODY


def _key(namespace: str, options: EnvelopeOptions) -> Any:
    if options.signature_key is None:
        return None
    try:
        return load_key(options.signature, options.signature_key)
    except (OSError, ValueError) as error:
        raise PrismError(StatusCode.FAILED_PRECONDITION, "SIGNATURE_KEY",
                         f"envelope.signature_key of namespace {namespace!r}: {error}") from error


def encryption_of(data: bytes, headers: Mapping[str, str]) -> Encryption | None:
    """What a message as a backend keeps it says of its encryption; None when it is not encrypted."""
    if ENCRYPTION_HEADER in headers:
        return _encryption_in(headers)
    envelope = reader.recognise(data)
    try:
        return _encryption_within(envelope) if envelope is not None else None
    except MalformedEnvelopeError:
        return None


def _encryption_within(envelope: Envelope) -> Encryption | None:
    body = envelope.head.part(4)
    try:
        found = wire.read(body).get(6) if body is not None else None
        return Encryption.decode(found) if isinstance(found, bytes) else None
    except ValueError as error:
        raise MalformedEnvelopeError("the encryption metadata of the envelope is malformed") from error


def _encryption_in(headers: Mapping[str, str]) -> Encryption | None:
    """None where there is none, or what stands there is none."""
    try:
        return Encryption.decode(b64decode(headers[ENCRYPTION_HEADER])) if ENCRYPTION_HEADER in headers else None
    except ValueError:
        return None
