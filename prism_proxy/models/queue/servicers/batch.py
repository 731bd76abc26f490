"""prism.interfaces.queue.QueueBatchInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.queue import queue_batch_pb2 as pb
from prism.interfaces.queue import queue_visibility_pb2 as visibility
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.queue.contract import BATCH
from prism_proxy.models.queue.model import Item
from prism_proxy.models.queue.servicers.messages import enqueued


class QueueBatchServicer(NamespacedServicer):
    """EnqueueBatch, ReleaseBatch."""

    interface = BATCH

    @answers
    async def EnqueueBatch(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        items = [Item(each.payload, each.metadata, each.priority, each.delay_seconds,
                      each.deliver_at if each.HasField("deliver_at") else None) for each in request.messages]
        results = await self.implementation(context).enqueue_batch(
            request.queue, items, context, origin_of(context))
        responses = [enqueued(result) for result in results]
        return pb.EnqueueBatchResponse(results=responses, all_success=not any(each.error for each in responses))

    @answers
    async def ReleaseBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        results = await self.implementation(context).release(
            request.queue, request.receipts, delete=request.delete, reason=request.reason, delay_ms=request.delay_ms,
            caller=context)
        return pb.ReleaseBatchResponse(
            results=[visibility.ReleaseResponse(success=error is None, error="" if error is None else str(error))
                     for error in results],
            all_success=not any(results))
