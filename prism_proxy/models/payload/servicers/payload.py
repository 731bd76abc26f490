"""prism.interfaces.payload.PayloadInterface."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, ClassVar

from prism.interfaces.payload import payload_pb2 as pb
from prism_proxy._native.envelope.framed import BorrowedMessage
from prism_proxy.envelope import wire
from prism_proxy.errors import invalid
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.payload.declaration import PAYLOAD
from prism_proxy.models.payload.model import Target
from prism_proxy.object_stores.contract import Chunk

_CHUNK_TAG = b"\x12"  # of the field `chunk`, number 2 of FetchResponse and of PublishPayloadRequest


def _part(data: bytes) -> Any:
    """A chunk as a view of its message, where the message has nothing else; protobuf would copy it twice."""
    if data.startswith(_CHUNK_TAG):
        try:
            size, start = wire.read_varint(data, 1)
        except wire.MalformedError:
            size, start = -1, 0
        if start + size == len(data):
            return memoryview(data)[start:]
    return pb.PublishPayloadRequest.FromString(data)


class PayloadServicer(NamespacedServicer):
    """Publish, Fetch."""

    interface = PAYLOAD
    readers: ClassVar[Mapping[str, Callable[[bytes], Any]]] = {"Publish": _part}

    @answers
    async def Publish(self, requests: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        model = self.implementation(context)
        requests = aiter(requests)
        first = await anext(requests, None)
        if first is None or isinstance(first, memoryview) or first.WhichOneof("part") != "head":
            raise invalid("head", "the first message of the stream must be the head")
        sent = await model.publish(_target(first.head), _chunks(requests), context, origin_of(context))
        return pb.PublishPayloadResponse(message_id=sent.message_id, size=sent.size, checksum=sent.checksum,
                                         claim_id=sent.claim_id, sequence=sent.sequence)

    @answers
    async def Fetch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        model = self.implementation(context)
        reader = model.fetch(request.topic, request.claim_id, request.claim, request.offset, request.limit)
        borrows = hasattr(context, "outlast")  # a context of our own server takes what is serialized already
        try:
            head = await reader.open()
            yield pb.FetchResponse(head=pb.FetchHead(
                size=head.size, content_type=head.content_type, checksum=head.checksum, offset=head.offset,
                read_from_start=head.read_from_start))
            async with contextlib.aclosing(reader.pieces()) as pieces:
                async for piece in pieces:
                    whole = memoryview(piece)
                    for at in range(0, len(whole), model.chunk_bytes):
                        chunk = whole[at:at + model.chunk_bytes]
                        yield _serialized(chunk) if borrows else pb.FetchResponse(chunk=bytes(chunk))
        finally:
            await reader.close()


def _serialized(chunk: memoryview) -> BorrowedMessage:
    """As `FetchResponse(chunk=chunk)` would be, without a copy of the bytes."""
    return BorrowedMessage(_CHUNK_TAG + wire.varint(len(chunk)), chunk)


def _target(head: Any) -> Target:
    kind = head.WhichOneof("target")
    if kind is None:
        raise invalid("target", "the head names no topic, persistent_topic, queue or stream")
    return Target(kind, getattr(head, kind), dict(head.metadata), head.key,
                  head.size if head.HasField("size") else None, head.checksum if head.HasField("checksum") else None)


async def _chunks(requests: AsyncIterator[Any]) -> AsyncIterator[Chunk]:
    async for request in requests:
        if isinstance(request, memoryview):
            yield request
            continue
        if request.WhichOneof("part") != "chunk":
            raise invalid("head", "only the first message of the stream is a head")
        yield request.chunk
