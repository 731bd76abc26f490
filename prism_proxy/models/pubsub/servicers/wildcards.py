"""prism.interfaces.pubsub.PubSubWildcardsInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.pubsub.contract import WILDCARDS
from prism_proxy.models.pubsub.servicers.messages import direct, follow


class PubSubWildcardsServicer(NamespacedServicer):
    """SubscribePattern."""

    interface = WILDCARDS

    @answers
    async def SubscribePattern(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - name of the contract
        model = self.implementation(context)
        source = follow(model, request.pattern, request.subscriber_id, lambda: model.subscribe(
            request.pattern, request.subscriber_id, request.options, pattern=True, queue_group=request.queue_group,
            caller=context, direct=direct(context)), context)
        async for message in self.stream(context, source):
            yield message
