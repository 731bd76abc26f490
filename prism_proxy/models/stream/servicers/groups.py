"""prism.interfaces.stream.StreamConsumerGroupsInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.stream import stream_consumer_groups_pb2 as pb
from prism_proxy.interfaces.servicer import answers
from prism_proxy.models.stream.contract import GROUPS
from prism_proxy.models.stream.servicers.reading import ReadingServicer


class StreamConsumerGroupsServicer(ReadingServicer):
    """CreateConsumerGroup, JoinConsumerGroup, Ack, Nack, GetConsumerGroupInfo."""

    interface = GROUPS

    @answers
    async def CreateConsumerGroup(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        await self.implementation(context).create_group(request.stream, request.group, request.start_offset, context)
        return pb.CreateConsumerGroupResponse(success=True)

    @answers
    async def JoinConsumerGroup(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        opened, consumer = await self.implementation(context).join(
            request.stream, request.group, request.consumer_id, request.max_in_flight, request.options, context)
        async for record in self.deliver(context, opened, (("x-subscription-id", consumer),)):
            yield record

    @answers
    async def Ack(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.AckResponse(acknowledged=await self.implementation(context).ack(
            request.stream, request.group, request.partition, request.offsets, context))

    @answers
    async def Nack(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.NackResponse(returned=await self.implementation(context).nack(
            request.stream, request.group, request.partition, request.offsets, request.delay_ms, request.reason,
            context))

    @answers
    async def GetConsumerGroupInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.implementation(context).group_info(request.stream, request.group, context)
        return pb.GetConsumerGroupInfoResponse(
            members=found.members, lag=found.lag, pending=found.pending, committed=found.committed)
