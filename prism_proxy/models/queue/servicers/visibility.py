"""prism.interfaces.queue.QueueVisibilityInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.queue import queue_visibility_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.queue.contract import VISIBILITY
from prism_proxy.models.queue.servicers.messages import messages


class QueueVisibilityServicer(NamespacedServicer):
    """DequeueWithTimeout, ExtendVisibility, Release."""

    interface = VISIBILITY

    @answers
    async def DequeueWithTimeout(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        found = await self.implementation(context).lease(
            request.queue, request.max_messages, request.visibility_seconds, request.wait_ms, context)
        return pb.DequeueWithTimeoutResponse(messages=messages(found))

    @answers
    async def ExtendVisibility(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.implementation(context).extend(request.queue, request.receipt, request.seconds, context)
        return pb.ExtendVisibilityResponse(success=True)

    @answers
    async def Release(self, request: Any, context: Any) -> Any:  # noqa: N802
        [error] = await self.implementation(context).release(
            request.queue, [request.receipt], delete=request.delete, reason=request.reason, delay_ms=request.delay_ms,
            caller=context)
        if error is not None:
            raise error
        return pb.ReleaseResponse(success=True)
