"""prism.interfaces.pubsub.PubSubOrderingInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.pubsub import pubsub_ordering_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.framing import origin_of
from prism_proxy.models.pubsub.contract import ORDERING


class PubSubOrderingServicer(NamespacedServicer):
    """PublishOrdered."""

    interface = ORDERING

    @answers
    async def PublishOrdered(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        done = await self.implementation(context).publish_ordered(
            request.topic, request.payload, request.ordering_key, request.metadata, context, origin_of(context))
        return pb.PublishOrderedResponse(success=True, message_id=done.message_id, sequence=done.sequence)
