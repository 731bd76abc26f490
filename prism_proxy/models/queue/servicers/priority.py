"""prism.interfaces.queue.QueuePriorityInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.queue import queue_basic_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.queue.contract import PRIORITY
from prism_proxy.models.queue.model import Item


class QueuePriorityServicer(NamespacedServicer):
    """EnqueueWithPriority."""

    interface = PRIORITY

    @answers
    async def EnqueueWithPriority(self, request: Any, context: Any) -> Any:  # noqa: N802 - name of the contract
        item = Item(request.payload, request.metadata, request.priority)
        return pb.EnqueueResponse(message_id=await self.implementation(context).enqueue(
            request.queue, item, context, origin_of(context)))
