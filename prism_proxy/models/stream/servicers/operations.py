"""prism.interfaces.stream.StreamOperationsInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.stream import stream_operations_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.stream.contract import OPERATIONS


class StreamOperationsServicer(NamespacedServicer):
    """ListStreams, DescribeStream, PurgeStream, DeleteConsumerGroup."""

    interface = OPERATIONS

    @answers
    async def ListStreams(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        return pb.ListStreamsResponse(streams=await self.implementation(context).streams(request.limit, context))

    @answers
    async def DescribeStream(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self.implementation(context)
        details, groups = await model.describe(request.stream, context)
        return pb.StreamDescription(
            stream=request.stream,
            partitions=[pb.StreamExtent(partition=each.partition, earliest=each.earliest, latest=each.latest,
                                        records=each.records) for each in details.partitions],
            groups=[pb.GroupDescription(group=name, members=info.members, lag=info.lag, pending=info.pending)
                    for name, info in groups])

    @answers
    async def PurgeStream(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.PurgeStreamResponse(removed=await self.implementation(context).purge(request.stream, context))

    @answers
    async def DeleteConsumerGroup(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.implementation(context).delete_group(request.stream, request.group, context)
        return pb.DeleteConsumerGroupResponse()
