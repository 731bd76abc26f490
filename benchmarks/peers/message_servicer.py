"""Benchmark peer: publish and subscribe over a dict of queues, served by grpc.aio on uvloop.

`python -m benchmarks.peers.message_servicer HOST:PORT`
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import uvloop

from prism.interfaces.pubsub import pubsub_basic_pb2 as basic
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as basic_grpc
from prism.interfaces.pubsub import pubsub_batch_pb2 as batch
from prism.interfaces.pubsub import pubsub_batch_pb2_grpc as batch_grpc


class FanOut(basic_grpc.PubSubBasicInterfaceServicer, batch_grpc.PubSubBatchInterfaceServicer):
    """The whole service, with as little Python as it takes. Nothing is bounded."""

    def __init__(self) -> None:
        self._subscribers: dict[str, set[asyncio.Queue[bytes]]] = {}

    def _publish(self, request: Any) -> Any:
        message_id = str(uuid.uuid4())
        subscribers = self._subscribers.get(request.topic)
        if subscribers:
            message = basic.Message(topic=request.topic, payload=request.payload, metadata=request.metadata,
                                    message_id=message_id, timestamp=int(time.time() * 1000)).SerializeToString()
            for queue in subscribers:
                queue.put_nowait(message)
        return basic.PublishResponse(success=True, message_id=message_id)

    async def Publish(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._publish(request)

    async def PublishStream(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        answered = 0
        async for request in requests:
            answered += 1
            yield batch.PublishStreamResponse(answered=answered, results=[self._publish(request)])

    async def subscribe(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._subscribers.setdefault(request.topic, set()).add(queue)
        await context.send_initial_metadata((("x-subscription-id", request.subscriber_id),))
        try:
            while True:
                yield await queue.get()
        finally:
            self._subscribers[request.topic].discard(queue)


async def serve(address: str) -> None:
    server, servicer = grpc.aio.server(), FanOut()
    basic_grpc.add_PubSubBasicInterfaceServicer_to_server(servicer, server)
    batch_grpc.add_PubSubBatchInterfaceServicer_to_server(servicer, server)
    # Subscribe once more, ahead of the generated one: a message is serialized once for all its subscribers.
    server.add_registered_method_handlers("prism.interfaces.pubsub.PubSubBasicInterface", {
        "Subscribe": grpc.unary_stream_rpc_method_handler(
            servicer.subscribe, request_deserializer=basic.SubscribeRequest.FromString)})
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(serve(*sys.argv[1:]))
