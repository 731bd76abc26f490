"""What the servicers of subscriptions share: the call from its initial metadata to its last message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism_proxy._native.envelope.framed import FramedMessage
from prism_proxy.models.framing import Opened
from prism_proxy.models.messaging_errors import slow_subscriber
from prism_proxy.models.pubsub.direct import Direct
from prism_proxy.models.pubsub.model import AnySubscriber, PubSubModel
from prism_proxy.models.pubsub.subscriber import SubscriberOptions

SUBSCRIPTION_ID = "x-subscription-id"


async def follow(
    model: PubSubModel, topic: str, subscriber_id: str, subscribe: Callable[[], Awaitable[AnySubscriber]], context: Any
) -> AsyncIterator[Any]:
    """Subscribe, say that the subscription is active, then its messages. Whatever ends the call closes it."""
    framed = takes_framed(context)
    subscriber = await subscribe()
    async with model.following(topic, subscriber_id, subscriber):
        await context.send_initial_metadata(
            ((SUBSCRIPTION_ID, subscriber.subscription_id), *model.reader_metadata))
        async for opened in model.messages(subscriber):
            yield framed_message(opened) if framed else message(opened)


def takes_framed(context: Any) -> bool:
    """Whether this is a context of our own server, which takes what is framed already."""
    return hasattr(context, "outlet")


class CallStream:
    """The stream of a call on our own server."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def outlet(self, counters: Any, total: Any, options: SubscriberOptions) -> Any:
        return self._context.outlet(counters, total, options.policy, options.buffer_messages, options.buffer_bytes,
                                    options.max_messages, slow_subscriber)

    def frame(self, opened: Opened) -> FramedMessage:
        return framed_message(opened)


def direct(context: Any) -> Direct | None:
    """Where messages may go without a servicer; None under grpc.aio's own server."""
    return CallStream(context) if takes_framed(context) else None


def message(opened: Opened) -> pb.Message:
    return pb.Message(topic=opened.topic, payload=opened.payload, metadata=opened.metadata,
                      message_id=opened.message_id, timestamp=opened.published_ms)


def framed_message(opened: Opened) -> FramedMessage:
    """Serialized and framed for the first subscriber that it goes to, and borrowed by the others."""
    if opened.wire is None:
        opened.wire = FramedMessage(message(opened).SerializeToString())
    return opened.wire  # type: ignore[no-any-return]
