"""prism.interfaces.stream.StreamReplayInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.stream import stream_replay_pb2 as pb
from prism_proxy.interfaces.servicer import answers
from prism_proxy.models.stream.contract import REPLAY
from prism_proxy.models.stream.servicers.reading import ReadingServicer, partition_of


class StreamReplayServicer(ReadingServicer):
    """SeekToOffset, SeekToTimestamp, ReplayRange."""

    interface = REPLAY

    @answers
    async def SeekToOffset(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        return pb.SeekToOffsetResponse(success=True, offset=await self.implementation(context).seek_offset(
            request.stream, request.group, request.partition, request.offset, context))

    @answers
    async def SeekToTimestamp(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.SeekToTimestampResponse(success=True, offset=await self.implementation(context).seek_timestamp(
            request.stream, request.group, request.timestamp, context))

    @answers
    async def ReplayRange(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        opened = await self.implementation(context).replay(
            request.stream, request.from_offset, request.to_offset, context, partition=partition_of(request))
        async for record in self.deliver(context, opened):
            yield record
