"""The meaning of the Payload methods: a stream of bytes becomes the payload of one message of another model.

What is small travels within its message. What is large is in the object store before the message is published, and
gone again when that fails.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prism_proxy.contracts.steps import Offloaded
from prism_proxy.envelope import attributes
from prism_proxy.errors import PrismError, StatusCode, interface_not_supported, invalid
from prism_proxy.models import names
from prism_proxy.models.framing import NOBODY, Origin
from prism_proxy.models.payload.options import PayloadOptions
from prism_proxy.object_stores.contract import Chunk
from prism_proxy.slots.composition import Part, Surroundings
from prism_proxy.slots.slot import Slot
from prism_proxy.steps.claim_check.streams import PayloadReader, PayloadStreams, PayloadWriter

TOPIC, PERSISTENT, QUEUE, STREAM = "topic", "persistent_topic", "queue", "stream"
_INTERFACES = {TOPIC: "pubsub_basic", PERSISTENT: "pubsub_persistent", QUEUE: "queue_basic", STREAM: "stream_basic"}
STEP = "claim_check"
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Target:
    """Where the message goes; `kind` is one of the constants above. `size` and `checksum` are what the publisher says
    of the payload."""

    kind: str
    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    key: bytes = b""
    size: int | None = None
    checksum: bytes | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    message_id: str
    size: int
    checksum: bytes
    claim_id: str = ""
    sequence: int = 0


class PayloadModel(Part):
    """One per namespace and configuration. It has no driver of its own: the other models have."""

    native = True  # no native handler serves it, so none can serve it wrongly

    def __init__(self, slot: Slot[Any], options: PayloadOptions, surroundings: Surroundings = Surroundings(),
                 previous: PayloadModel | None = None) -> None:
        self._options = options
        self._surroundings = surroundings
        self._backend = slot.driver.declaration
        step: Any = surroundings.chain.steps[STEP]
        self._streams: PayloadStreams = step.streams
        self.chunk_bytes = options.chunk_bytes

    async def publish(
        self, target: Target, chunks: AsyncIterator[Chunk], caller: Any = None, origin: Origin = NOBODY
    ) -> Sent:
        """PrismError; then nothing was published, unless the error says that nobody knows."""
        model = self._model(target)
        said = self._checked(target)
        start, rest = await self._start(chunks)
        if not rest:
            return await self._small(model, target, b"".join(start), caller, origin)
        writer = self._streams.writer(
            target.name, said.content_type, size=target.size, checksum=target.checksum)
        try:
            for chunk in start:
                await writer.add(chunk)
            start.clear()
            while (piece := await self._following(chunks)) is not None:
                await writer.add(piece)
            made, digests = await writer.finish()
        except BaseException:
            await writer.abort()
            raise
        return await self._offloaded(model, target, writer, made, (digests.original_size, digests.checksum), caller,
                                     origin)

    def _model(self, target: Target) -> Any:
        interface = _INTERFACES[target.kind]
        found = self._surroundings.implementation(interface)
        if found is None:
            raise interface_not_supported(interface, self._backend.name, tuple(sorted(self._backend.interfaces)))
        return found

    def _checked(self, target: Target) -> attributes.Attributes:
        """Everything that can be refused before the payload comes."""
        names.topic(target.name, target.kind)
        said = attributes.parse(target.metadata)
        if said.is_envelope:
            raise invalid("metadata", "an envelope cannot be streamed: publish it as a message")
        if target.key and target.kind != STREAM:
            raise invalid("key", "only records of a stream have a key")
        if target.size is not None and target.size < 0:
            raise invalid("size", "size must not be negative", value=str(target.size))
        if target.checksum is not None and len(target.checksum) != DIGEST_BYTES:
            raise invalid("checksum", "checksum is the SHA-256 of the payload, 32 bytes")
        return said

    async def _start(self, chunks: AsyncIterator[Chunk]) -> tuple[list[Chunk], bool]:
        """What comes first, and whether it is too much for a message."""
        found: list[Chunk] = []
        size = 0
        while (chunk := await self._following(chunks)) is not None:
            found.append(chunk)
            size += len(chunk)
            if size > self._streams.inline_bytes:
                return found, True
        return found, False

    async def _following(self, chunks: AsyncIterator[Chunk]) -> Chunk | None:
        try:
            async with asyncio.timeout(self._options.idle_timeout):
                return await anext(chunks, None)
        except TimeoutError:
            raise PrismError(
                StatusCode.DEADLINE_EXCEEDED, "UPLOAD_IDLE",
                f"nothing came for {self._options.idle_timeout:g} s, payload.idle_timeout: send the payload again",
                {"outcome": "not_executed"}) from None

    async def _small(self, model: Any, target: Target, payload: bytes, caller: Any, origin: Origin) -> Sent:
        checksum = hashlib.sha256(payload).digest()
        for name, said, found in (("size", target.size, len(payload)), ("checksum", target.checksum, checksum)):
            if said is not None and said != found:
                raise invalid(name, f"the payload that came has another {name} than the head says: send it again",
                              reason="PAYLOAD_MISMATCH")
        message_id, sequence = await self._published(model, target, payload, caller, origin)
        return Sent(message_id, len(payload), checksum, "", sequence)

    async def _offloaded(
        self, model: Any, target: Target, writer: PayloadWriter, made: Offloaded, digests: tuple[int, bytes],
        caller: Any, origin: Origin,
    ) -> Sent:
        try:
            message_id, sequence = await self._published(model, target, made, caller, origin)
        except BaseException:
            if not made.passed:
                self._streams.discard(made)
            raise
        claim_id = made.token.rpartition("/")[2] if message_id == writer.place.message_id else ""
        return Sent(message_id, *digests, claim_id, sequence)

    async def _published(
        self, model: Any, target: Target, payload: bytes, caller: Any, origin: Origin
    ) -> tuple[str, int]:
        """(message id, sequence or offset) of the message."""
        if target.kind == TOPIC:
            return await model.publish(target.name, payload, target.metadata, caller, origin), 0
        if target.kind == PERSISTENT:
            done = await model.publish_persistent(target.name, payload, target.metadata, caller, origin)
            return done.message_id, done.sequence
        if target.kind == QUEUE:
            from prism_proxy.models.queue.model import Item

            return await model.enqueue(target.name, Item(payload, target.metadata), caller, origin), 0
        from prism_proxy.models.stream.model import WantedRecord

        record = WantedRecord(target.key, payload, target.metadata)
        appended = await model.append(target.name, [record], caller, None, origin)
        return getattr(payload, "message_id", ""), appended.first

    def fetch(self, topic: str, claim_id: str, claim: bytes, offset: int, limit: int) -> PayloadReader:
        """Open it, then read its pieces, and close it in any case."""
        return self._streams.reader(topic, claim_id, claim, offset, limit)
