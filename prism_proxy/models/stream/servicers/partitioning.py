"""prism.interfaces.stream.StreamPartitioningInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.stream import stream_basic_pb2 as basic
from prism.interfaces.stream import stream_partitioning_pb2 as pb
from prism.queue.v1 import partition_info_pb2
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.stream.contract import PARTITIONING
from prism_proxy.models.stream.servicers.reading import wanted


class StreamPartitioningServicer(NamespacedServicer):
    """GetPartitions, AppendToPartition."""

    interface = PARTITIONING

    @answers
    async def GetPartitions(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        found = await self.implementation(context).partitions(request.stream, context)
        return pb.GetPartitionsResponse(partitions=[partition_info_pb2.PartitionInfo(
            partition=item.partition, earliest_offset=item.earliest, latest_offset=item.latest,
            message_count=item.records) for item in found])

    @answers
    async def AppendToPartition(self, request: Any, context: Any) -> Any:  # noqa: N802
        done = await self.implementation(context).append(
            request.stream, wanted(request.records), context, request.partition, origin_of(context))
        return basic.AppendResponse(first_offset=done.first, last_offset=done.last)
