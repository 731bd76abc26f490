"""prism.interfaces.pubsub.PubSubPersistentInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.pubsub import pubsub_persistent_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.pubsub.contract import PERSISTENT
from prism_proxy.models.pubsub.servicers.messages import follow
from prism_proxy.models.pubsub.subscriber import Subscriber


class PubSubPersistentServicer(NamespacedServicer):
    """PublishPersistent, SubscribeDurable, GetLastMessageID, AckDurable."""

    interface = PERSISTENT

    @answers
    async def PublishPersistent(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        done = await self.implementation(context).publish_persistent(
            request.topic, request.payload, request.metadata, context, origin_of(context))
        return pb.PublishPersistentResponse(success=True, message_id=done.message_id, sequence=done.sequence)

    @answers
    async def SubscribeDurable(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        model = self.implementation(context)
        opened: list[Subscriber] = []

        async def subscribe() -> Subscriber:
            opened.append(await model.subscribe_durable(
                request.topic, request.durable_name, request.options, from_message_id=request.from_message_id,
                from_ms=request.from_timestamp if request.HasField("from_timestamp") else None, caller=context))
            return opened[0]

        source = follow(model, request.topic, request.durable_name, subscribe, context)
        async for message in self.stream(context, source, lambda: opened[0].resume() if opened else None):
            yield message

    @answers
    async def GetLastMessageID(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.implementation(context).last_message(request.topic, context)
        return pb.GetLastMessageIDResponse(message_id=found.message_id, sequence=found.sequence)

    @answers
    async def AckDurable(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.implementation(context).ack_durable(
            request.topic, request.durable_name, request.message_id, context)
        return pb.AckDurableResponse(success=True)
