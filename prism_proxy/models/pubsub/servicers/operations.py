"""prism.interfaces.pubsub.PubSubOperationsInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.pubsub import pubsub_operations_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.pubsub.contract import OPERATIONS
from prism_proxy.models.pubsub.servicers.messages import message


class PubSubOperationsServicer(NamespacedServicer):
    """ListTopics, DescribeTopic, PeekTopic, PurgeTopic, SeekDurable, DeleteDurable."""

    interface = OPERATIONS

    @answers
    async def ListTopics(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        return pb.ListTopicsResponse(topics=await self.implementation(context).topics(request.limit, context))

    @answers
    async def DescribeTopic(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.implementation(context).describe(request.topic, context)
        return pb.TopicDescription(
            topic=request.topic, messages=found.messages, earliest=found.earliest, latest=found.latest,
            durables=[pb.DurableDescription(durable_name=each.durable_name, next=each.next, lag=each.lag)
                      for each in sorted(found.durables)])

    @answers
    async def PeekTopic(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.implementation(context).peek(request.topic, request.max_messages, context)
        return pb.PeekTopicResponse(messages=map(message, found))

    @answers
    async def PurgeTopic(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.PurgeTopicResponse(removed=await self.implementation(context).purge(request.topic, context))

    @answers
    async def SeekDurable(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.implementation(context).seek_durable(
            request.topic, request.durable_name, request.sequence,
            request.timestamp if request.HasField("timestamp") else None, context)
        return pb.SeekDurableResponse()

    @answers
    async def DeleteDurable(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.implementation(context).delete_durable(request.topic, request.durable_name, context)
        return pb.DeleteDurableResponse()
