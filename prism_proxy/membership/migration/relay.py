"""Takes records that arrive at one worker to the one that has the store of their namespace."""

from __future__ import annotations

from collections.abc import Sequence

from prism import transfer_pb2 as pb
from prism_proxy._native.grpc.client import CallError
from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.membership.migration.target_client import CALL_SECONDS, SERVICE, MoveError
from prism_proxy.namespaces.placement import Placement
from prism_proxy.server.channel import Channel, Metadata


class Relay:
    """`channels` lead to the workers, none where this process is alone; `metadata` is what they must be shown."""

    def __init__(self, placement: Placement, channels: Sequence[Channel], metadata: Metadata) -> None:
        self._placement = placement
        self._channels = channels
        self._metadata = tuple(metadata)

    def elsewhere(self, namespace: str) -> int | None:
        """The other worker that has the store of a namespace, or would; None when it is this one."""
        return self._placement.elsewhere(partition_of(namespace), "local")

    async def put(self, worker: int, request: pb.PutRequest) -> pb.MoveReply:
        """MoveError when the worker is not there."""
        return pb.MoveReply.FromString(await self._call(worker, "Put", request.SerializeToString()))

    async def verify(self, worker: int, request: pb.VerifyRequest) -> pb.VerifyReply:
        """MoveError when the worker is not there."""
        return pb.VerifyReply.FromString(await self._call(worker, "Verify", request.SerializeToString()))

    async def _call(self, worker: int, method: str, message: bytes) -> bytes:
        try:
            return await self._channels[worker].unary(SERVICE + method, message, self._metadata, CALL_SECONDS)
        except CallError as error:
            raise MoveError(f"{method} at worker {worker}: {error.message}") from error

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
