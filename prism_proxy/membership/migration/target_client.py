"""The target of a move as its source sees it: a few calls of prism.Transfer, each of which may fail the move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prism import control_plane_pb2, transfer_pb2
from prism_proxy._native.grpc.client import CallError
from prism_proxy.contracts.movable import Digest, Record, Span
from prism_proxy.server.channel import Channel, Metadata

CALL_SECONDS = 10.0
OPEN_SECONDS = 600.0  # the target may have an old store to empty
MESSAGE_BYTES = 1024 * 1024  # of the records of one message; a single record may be larger
_RECORD_BYTES = 32
SERVICE = "/prism.Transfer/"


class MoveError(RuntimeError):
    """The move cannot be made; the message says why."""


class TargetClient(Protocol):
    """MoveError when the target refuses, or cannot be reached."""

    async def open(self, namespace: control_plane_pb2.NamespaceAssignment, clock: int) -> None: ...

    async def put(self, namespace: str, records: Sequence[Record]) -> None: ...

    async def put_proven(self, namespace: str, records: Sequence[Record], horizon: int) -> Digest: ...

    async def digest(self, namespace: str, span: Span, horizon: int) -> Digest: ...

    async def hashes(self, namespace: str, span: Span, horizon: int) -> Mapping[bytes, int]: ...

    async def unexpected_keys(self, namespace: str, horizon: int) -> tuple[Sequence[bytes], Digest]:
        """Ask when calls wait, and for nothing else afterwards."""
        ...

    async def close(self) -> None: ...


class RemoteTargetClient:
    """Implements `TargetClient` over a channel, which it closes."""

    def __init__(self, move_id: str, channel: Channel, metadata: Metadata) -> None:
        self._move = move_id
        self._channel = channel
        self._metadata = tuple(metadata)

    async def open(self, namespace: control_plane_pb2.NamespaceAssignment, clock: int) -> None:
        reply = await self._call("Open", transfer_pb2.OpenRequest(move_id=self._move, namespace=namespace, clock=clock),
                                 OPEN_SECONDS)
        if not reply.compares_parts:
            raise MoveError("the target is of an older version, which compares whole stores only: update it")

    async def put(self, namespace: str, records: Sequence[Record]) -> None:
        for part in in_messages(records):
            await self._call("Put", self._put(namespace, part))

    async def put_proven(self, namespace: str, records: Sequence[Record], horizon: int) -> Digest:
        count, total = 0, 0
        for part in in_messages(records):
            request = self._put(namespace, part)
            request.horizon = horizon
            reply = await self._call("Put", request)
            count, total = count + reply.records, (total + reply.sum) % 2**64
        return Digest(count, total)

    def _put(self, namespace: str, records: Sequence[Record]) -> transfer_pb2.PutRequest:
        return transfer_pb2.PutRequest(move_id=self._move, namespace=namespace, records=[
            transfer_pb2.Record(key=key, value=value, expires=expires) for key, value, expires in records])

    async def digest(self, namespace: str, span: Span, horizon: int) -> Digest:
        reply = await self._verify(transfer_pb2.VerifyRequest(
            move_id=self._move, namespace=namespace, horizon=horizon, after=span.after, until=span.until, more=True))
        return Digest(reply.records, reply.sum)

    async def hashes(self, namespace: str, span: Span, horizon: int) -> Mapping[bytes, int]:
        reply = await self._verify(transfer_pb2.VerifyRequest(
            move_id=self._move, namespace=namespace, horizon=horizon, after=span.after, until=span.until, more=True,
            each=True))
        return dict(zip(reply.keys, reply.hashes, strict=True))

    async def unexpected_keys(self, namespace: str, horizon: int) -> tuple[Sequence[bytes], Digest]:
        reply = await self._verify(transfer_pb2.VerifyRequest(
            move_id=self._move, namespace=namespace, horizon=horizon, strays=True))
        return reply.keys, Digest(reply.records, reply.sum)

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, method: str, request: transfer_pb2.OpenRequest | transfer_pb2.PutRequest,
                    seconds: float = CALL_SECONDS) -> transfer_pb2.MoveReply:
        reply = transfer_pb2.MoveReply.FromString(await self._bytes(method, request.SerializeToString(), seconds))
        if not reply.success:
            raise MoveError(reply.message)
        return reply

    async def _verify(self, request: transfer_pb2.VerifyRequest) -> transfer_pb2.VerifyReply:
        reply = transfer_pb2.VerifyReply.FromString(
            await self._bytes("Verify", request.SerializeToString(), CALL_SECONDS))
        if not reply.success:
            raise MoveError(reply.message)
        return reply

    async def _bytes(self, method: str, message: bytes, seconds: float) -> bytes:
        try:
            return await self._channel.unary(SERVICE + method, message, self._metadata, seconds)
        except CallError as error:
            raise MoveError(f"{method}: {error.message}") from error


def in_messages(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Records in parts of about one message."""
    part: list[Record] = []
    size = 0
    for record in records:
        own = len(record[0]) + len(record[1] or b"") + _RECORD_BYTES
        if part and size + own > MESSAGE_BYTES:
            yield part
            part, size = [], 0
        part.append(record)
        size += own
    if part:
        yield part
