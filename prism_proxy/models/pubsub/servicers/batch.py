"""prism.interfaces.pubsub.PubSubBatchInterface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from prism.interfaces.pubsub import pubsub_basic_pb2 as basic
from prism.interfaces.pubsub import pubsub_batch_pb2 as pb
from prism_proxy.errors import PrismError
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.pubsub.contract import BATCH

GROUP = 256  # requests of a stream that are published and answered together, when as many are there


class PubSubBatchServicer(NamespacedServicer):
    """PublishBatch, PublishStream."""

    interface = BATCH

    @answers
    async def PublishBatch(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        model = self.implementation(context)
        results = await model.publish_batch(_items(request.requests), context, origin_of(context))
        responses = [_response(result) for result in results]
        return pb.PublishBatchResponse(results=responses, all_success=all(each.success for each in responses))

    @answers
    async def PublishStream(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        model = self.implementation(context)
        answered = getattr(context, "answered_before", 0)
        parent = origin_of(context)
        async for group in _groups(requests):
            results = await model.publish_batch(_items(group), context, parent)
            answered += len(results)
            yield pb.PublishStreamResponse(answered=answered, results=[_response(result) for result in results])


def _items(requests: Sequence[Any]) -> list[tuple[str, bytes, Any]]:
    return [(each.topic, each.payload, each.metadata) for each in requests]


def _response(result: str | PrismError) -> Any:
    if isinstance(result, PrismError):
        return basic.PublishResponse(success=False, error=str(result))
    return basic.PublishResponse(success=True, message_id=result)


async def _groups(requests: AsyncIterator[Any]) -> AsyncIterator[list[Any]]:
    """What has arrived, at most GROUP at a time, and at least one: nothing waits for company."""
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    room = asyncio.Semaphore(GROUP)

    async def read() -> None:
        try:
            async for request in requests:
                await room.acquire()
                arrived.put_nowait(request)
        finally:
            arrived.put_nowait(None)

    reader = asyncio.get_running_loop().create_task(read())
    try:
        over = False
        while not over:
            group = [await arrived.get()]
            while len(group) < GROUP and not arrived.empty():
                group.append(arrived.get_nowait())
            over = group[-1] is None
            if over:
                del group[-1]
            for _ in group:
                room.release()
            if group:
                yield group
        await reader  # what ended it ends the stream
    finally:
        reader.cancel()
