"""prism.interfaces.stream.StreamBasicInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.stream import stream_basic_pb2 as pb
from prism_proxy.interfaces.servicer import answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.stream.contract import BASIC
from prism_proxy.models.stream.servicers.reading import ReadingServicer, partition_of, wanted


class StreamBasicServicer(ReadingServicer):
    """Append, Read, GetLatestOffset."""

    interface = BASIC

    @answers
    async def Append(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        done = await self.implementation(context).append(
            request.stream, wanted(request.records), context, origin=origin_of(context))
        return pb.AppendResponse(first_offset=done.first, last_offset=done.last)

    @answers
    async def Read(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        opened = await self.implementation(context).read(
            request.stream, request.offset, request.limit, request.options, context, partition=partition_of(request),
            follow=request.follow)
        async for record in self.deliver(context, opened):
            yield record

    @answers
    async def GetLatestOffset(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.GetLatestOffsetResponse(
            offset=await self.implementation(context).latest_offset(request.stream, request.partition, context))
