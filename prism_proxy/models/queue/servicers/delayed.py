"""prism.interfaces.queue.QueueDelayedInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.queue import queue_basic_pb2 as basic
from prism.interfaces.queue import queue_delayed_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.queue.contract import DELAYED
from prism_proxy.models.queue.model import Item


class QueueDelayedServicer(NamespacedServicer):
    """EnqueueDelayed, GetScheduledCount."""

    interface = DELAYED

    @answers
    async def EnqueueDelayed(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        deliver_at = request.deliver_at if request.HasField("deliver_at") else None
        item = Item(request.payload, request.metadata, delay_s=request.delay_seconds, deliver_at_ms=deliver_at)
        return basic.EnqueueResponse(message_id=await self.implementation(context).enqueue(
            request.queue, item, context, origin_of(context)))

    @answers
    async def GetScheduledCount(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.implementation(context).scheduled(request.queue, context)
        return pb.GetScheduledCountResponse(count=found.messages, next_at=found.next_ms)
