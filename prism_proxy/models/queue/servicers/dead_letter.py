"""prism.interfaces.queue.QueueDeadLetterInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.queue import queue_dead_letter_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.queue.contract import DEAD_LETTER


class QueueDeadLetterServicer(NamespacedServicer):
    """ConfigureDeadLetter, GetDeadLetterQueue, Redrive."""

    interface = DEAD_LETTER

    @answers
    async def ConfigureDeadLetter(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        await self.implementation(context).configure_dead_letter(
            request.queue, request.dead_letter_queue, request.max_receives, context)
        return pb.ConfigureDeadLetterResponse(success=True)

    @answers
    async def GetDeadLetterQueue(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.implementation(context).dead_letters(request.queue, context)
        return pb.GetDeadLetterQueueResponse(
            dead_letter_queue=found.queue, max_receives=found.max_receives, depth=found.depth)

    @answers
    async def Redrive(self, request: Any, context: Any) -> Any:  # noqa: N802
        moved, skipped = await self.implementation(context).redrive(
            request.queue, request.metadata, request.max_messages, request.rate, context, dry_run=request.dry_run)
        return pb.RedriveResponse(moved=moved, skipped=skipped)
