"""The operations of publish/subscribe at a slot."""

from __future__ import annotations

from prism_proxy.interfaces.operations import operation
from prism_proxy.models.pubsub.contract import BASIC, BATCH, WILDCARDS

PUBLISH = operation(BASIC, "Publish")
PUBLISH_BATCH = operation(BATCH, "PublishBatch", bulk=True)
SUBSCRIBE = operation(BASIC, "Subscribe")
SUBSCRIBE_PATTERN = operation(WILDCARDS, "SubscribePattern")
