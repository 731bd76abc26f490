"""prism.interfaces.queue.QueueOperationsInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.queue import queue_operations_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.queue.contract import OPERATIONS, Counts


class QueueOperationsServicer(NamespacedServicer):
    """ListQueues, DescribeQueue, PurgeQueue."""

    interface = OPERATIONS

    @answers
    async def ListQueues(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        found = await self.implementation(context).queues(request.limit, context)
        return pb.ListQueuesResponse(queues=[_described(name, counts) for name, counts in found])

    @answers
    async def DescribeQueue(self, request: Any, context: Any) -> Any:  # noqa: N802
        return _described(request.queue, await self.implementation(context).counts(request.queue, context))

    @answers
    async def PurgeQueue(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.PurgeQueueResponse(removed=await self.implementation(context).purge(request.queue, context))


def _described(name: str, counts: Counts) -> Any:
    return pb.QueueDescription(queue=name, ready=counts.ready, in_flight=counts.in_flight, scheduled=counts.scheduled,
                               oldest_at=counts.oldest_ms)
