"""The operations of publish/subscribe at a slot."""

from __future__ import annotations

from prism_proxy.interfaces.operations import operation
from prism_proxy.models.pubsub.contract import BASIC, BATCH, OPERATIONS, ORDERING, PERSISTENT, WILDCARDS

PUBLISH = operation(BASIC, "Publish")
PUBLISH_BATCH = operation(BATCH, "PublishBatch", bulk=True)
SUBSCRIBE = operation(BASIC, "Subscribe")
SUBSCRIBE_PATTERN = operation(WILDCARDS, "SubscribePattern")

PUBLISH_PERSISTENT = operation(PERSISTENT, "PublishPersistent")
SUBSCRIBE_DURABLE = operation(PERSISTENT, "SubscribeDurable")
LAST_MESSAGE = operation(PERSISTENT, "GetLastMessageID")
ACK_DURABLE = operation(PERSISTENT, "AckDurable")
PUBLISH_ORDERED = operation(ORDERING, "PublishOrdered")

LIST_TOPICS = operation(OPERATIONS, "ListTopics")
DESCRIBE_TOPIC = operation(OPERATIONS, "DescribeTopic")
PEEK_TOPIC = operation(OPERATIONS, "PeekTopic")
PURGE_TOPIC = operation(OPERATIONS, "PurgeTopic")
SEEK_DURABLE = operation(OPERATIONS, "SeekDurable")
DELETE_DURABLE = operation(OPERATIONS, "DeleteDurable")
