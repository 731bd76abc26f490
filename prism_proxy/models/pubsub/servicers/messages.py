"""What the servicers of subscriptions share: the call from its initial metadata to its last message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism_proxy._native.envelope.framed import FramedMessage
from prism_proxy.models.framing import Opened
from prism_proxy.models.pubsub.model import PubSubModel
from prism_proxy.models.pubsub.subscriber import Subscriber

SUBSCRIPTION_ID = "x-subscription-id"


async def follow(
    model: PubSubModel, topic: str, subscriber_id: str, subscriber: Subscriber, context: Any
) -> AsyncIterator[Any]:
    """Say that the subscription is active, then its messages."""
    await context.send_initial_metadata(((SUBSCRIPTION_ID, subscriber.subscription_id),))
    framed = hasattr(context, "outlast")  # a context of our own server takes what is framed already
    async for opened in model.messages(topic, subscriber_id, subscriber):
        yield framed_message(opened) if framed else message(opened)


def message(opened: Opened) -> pb.Message:
    return pb.Message(topic=opened.topic, payload=opened.payload, metadata=opened.metadata,
                      message_id=opened.message_id, timestamp=opened.published_ms)


def framed_message(opened: Opened) -> FramedMessage:
    """Serialized and framed for the first subscriber that it goes to, and borrowed by the others."""
    if opened.wire is None:
        opened.wire = FramedMessage(message(opened).SerializeToString())
    return opened.wire  # type: ignore[no-any-return]
