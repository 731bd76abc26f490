"""prism.interfaces.pubsub.PubSubBasicInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers, wherever_it_is
from prism_proxy.models.framing import origin_of
from prism_proxy.models.pubsub.contract import BASIC
from prism_proxy.models.pubsub.servicers.messages import direct, follow


class PubSubBasicServicer(NamespacedServicer):
    """Publish, Subscribe, Unsubscribe."""

    interface = BASIC

    @answers
    async def Publish(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        message_id = await self.implementation(context).publish(
            request.topic, request.payload, request.metadata, context, origin_of(context))
        return pb.PublishResponse(success=True, message_id=message_id)

    @answers
    async def Subscribe(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        model = self.implementation(context)
        source = follow(model, request.topic, request.subscriber_id, lambda: model.subscribe(
            request.topic, request.subscriber_id, request.options, caller=context, direct=direct(context)), context)
        async for message in self.stream(context, source):
            yield message

    @answers
    @wherever_it_is(lambda: pb.UnsubscribeResponse)
    async def Unsubscribe(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.implementation(context).unsubscribe(request.topic, request.subscriber_id)
        return pb.UnsubscribeResponse(success=True)
