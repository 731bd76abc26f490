"""prism.interfaces.pubsub.PubSubFilteringInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.filters import compiled
from prism_proxy.models.framing import origin_of
from prism_proxy.models.pubsub.contract import FILTERING
from prism_proxy.models.pubsub.servicers.messages import follow


class PubSubFilteringServicer(NamespacedServicer):
    """PublishWithAttributes, SubscribeFiltered."""

    interface = FILTERING

    @answers
    async def PublishWithAttributes(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        message_id = await self.implementation(context).publish(
            request.topic, request.payload, request.attributes, context, origin_of(context))
        return pb.PublishResponse(success=True, message_id=message_id)

    @answers
    async def SubscribeFiltered(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        from google.protobuf.json_format import MessageToDict

        model = self.implementation(context)
        accepts = compiled(MessageToDict(request.filter))
        source = follow(model, request.topic, request.subscriber_id, lambda: model.subscribe(
            request.topic, request.subscriber_id, request.options, accepts=accepts, caller=context), context)
        async for message in self.stream(context, source):
            yield message
