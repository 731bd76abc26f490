"""The target of a move as its source sees it: a few calls of prism.Transfer, each of which may fail the move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from prism import control_plane_pb2, transfer_pb2
from prism_proxy._native.client import CallError
from prism_proxy.contracts.movable import Digest, Record
from prism_proxy.server.channel import Channel, Metadata

CALL_SECONDS = 10.0
MESSAGE_BYTES = 1024 * 1024  # of the records of one message; a single record may be larger
_RECORD_BYTES = 32
SERVICE = "/prism.Transfer/"


class MoveError(RuntimeError):
    """The move cannot be made; the message says why."""


class Target(Protocol):
    """MoveError when the target refuses, or cannot be reached."""

    async def open(self, namespace: control_plane_pb2.NamespaceAssignment, clock: int) -> None: ...

    async def put(self, namespace: str, records: Sequence[Record]) -> None: ...

    async def digest(self, namespace: str, horizon: int) -> Digest: ...

    async def close(self) -> None: ...


class RemoteTarget:
    """Implements `Target` over a channel, which it closes."""

    def __init__(self, move_id: str, channel: Channel, metadata: Metadata) -> None:
        self._move = move_id
        self._channel = channel
        self._metadata = tuple(metadata)

    async def open(self, namespace: control_plane_pb2.NamespaceAssignment, clock: int) -> None:
        await self._call("Open", transfer_pb2.OpenRequest(move_id=self._move, namespace=namespace, clock=clock))

    async def put(self, namespace: str, records: Sequence[Record]) -> None:
        for part in in_messages(records):
            await self._call("Put", transfer_pb2.PutRequest(move_id=self._move, namespace=namespace, records=[
                transfer_pb2.Record(key=key, value=value, expires=expires) for key, value, expires in part]))

    async def digest(self, namespace: str, horizon: int) -> Digest:
        reply = transfer_pb2.VerifyReply.FromString(await self._bytes("Verify", transfer_pb2.VerifyRequest(
            move_id=self._move, namespace=namespace, horizon=horizon).SerializeToString()))
        if not reply.success:
            raise MoveError(reply.message)
        return Digest(reply.records, reply.sum)

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, method: str, request: transfer_pb2.OpenRequest | transfer_pb2.PutRequest) -> None:
        reply = transfer_pb2.MoveReply.FromString(await self._bytes(method, request.SerializeToString()))
        if not reply.success:
            raise MoveError(reply.message)

    async def _bytes(self, method: str, message: bytes) -> bytes:
        try:
            return await self._channel.unary(SERVICE + method, message, self._metadata, CALL_SECONDS)
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
