"""prism.interfaces.queue.QueueBasicInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.queue import queue_basic_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.queue.contract import BASIC
from prism_proxy.models.queue.model import Item
from prism_proxy.models.queue.servicers.messages import messages


class QueueBasicServicer(NamespacedServicer):
    """Enqueue, Dequeue, Peek."""

    interface = BASIC

    @answers
    async def Enqueue(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        item = Item(request.payload, request.metadata)
        return pb.EnqueueResponse(message_id=await self.implementation(context).enqueue(
            request.queue, item, context, origin_of(context)))

    @answers
    async def Dequeue(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.DequeueResponse(messages=messages(await self.implementation(context).dequeue(
            request.queue, request.max_messages, request.wait_ms, context)))

    @answers
    async def Peek(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.PeekResponse(messages=messages(await self.implementation(context).peek(
            request.queue, request.max_messages, request.wait_ms, context)))
