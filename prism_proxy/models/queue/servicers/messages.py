"""What the servicers of queues share: messages on the wire, and the results of batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prism.interfaces.queue import queue_basic_pb2 as pb
from prism_proxy.errors import PrismError
from prism_proxy.models.queue.model import Dequeued


def messages(found: Sequence[Dequeued]) -> list[Any]:
    """QueueMessages."""
    return [pb.QueueMessage(
        message_id=opened.message_id or message.message_id, payload=opened.payload, metadata=opened.metadata,
        receive_count=message.receive_count, receipt=message.receipt, enqueued_at=message.enqueued_ms,
        priority=message.priority) for message, opened in found]


def enqueued(result: str | PrismError) -> Any:
    """EnqueueResponse of a batch's item."""
    if isinstance(result, PrismError):
        return pb.EnqueueResponse(error=str(result))
    return pb.EnqueueResponse(message_id=result)
