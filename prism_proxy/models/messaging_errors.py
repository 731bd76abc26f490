"""The errors that every messaging driver and model shares, so that a caller sees one reason for one thing."""

from __future__ import annotations

from prism_proxy.errors import PrismError, StatusCode

QUEUE_FULL_RETRY_SECONDS = 0.5


def stream_not_found(stream: str) -> PrismError:
    return PrismError(StatusCode.NOT_FOUND, "STREAM_NOT_FOUND",
                      f"there is no stream {stream!r}: append to it first, or read with follow", field_name="stream")


def group_not_found(stream: str, group: str) -> PrismError:
    return PrismError(StatusCode.NOT_FOUND, "GROUP_NOT_FOUND",
                      f"stream {stream!r} has no group {group!r}: call CreateConsumerGroup first", field_name="group")


def group_exists(stream: str, group: str) -> PrismError:
    return PrismError(StatusCode.ALREADY_EXISTS, "GROUP_EXISTS", f"stream {stream!r} has a group {group!r} already",
                      field_name="group")


def group_has_members(stream: str, group: str, count: int) -> PrismError:
    return PrismError(StatusCode.FAILED_PRECONDITION, "GROUP_HAS_MEMBERS",
                      f"group {group!r} of stream {stream!r} has {count} members: end their calls first",
                      field_name="group")


def partition_out_of_range(stream: str, partition: int, count: int) -> PrismError:
    return PrismError(StatusCode.OUT_OF_RANGE, "PARTITION_OUT_OF_RANGE",
                      f"stream {stream!r} has the partitions 0 to {count - 1}, not {partition}", field_name="partition",
                      invalid_value=str(partition))


def offset_out_of_range(stream: str, offset: int, end: int) -> PrismError:
    return PrismError(StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE",
                      f"offset {offset} is beyond the end of stream {stream!r}, which is {end}", field_name="offset",
                      invalid_value=str(offset))


def receipt_expired() -> PrismError:
    return PrismError(StatusCode.FAILED_PRECONDITION, "RECEIPT_EXPIRED",
                      "the lease of this receipt is over: the message was released, or may be with another consumer",
                      field_name="receipt")


def topic_log_not_found(topic: str) -> PrismError:
    return PrismError(StatusCode.NOT_FOUND, "TOPIC_LOG_NOT_FOUND",
                      f"topic {topic!r} has no log: PublishPersistent and SubscribeDurable make one",
                      field_name="topic")


def durable_not_found(topic: str, durable_name: str) -> PrismError:
    return PrismError(StatusCode.NOT_FOUND, "DURABLE_NOT_FOUND",
                      f"topic {topic!r} has no durable subscription {durable_name!r}", field_name="durable_name")


def message_not_found(topic: str, message_id: str) -> PrismError:
    return PrismError(StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND",
                      f"the log of topic {topic!r} holds no message {message_id!r}", field_name="message_id")


def subscriber_replaced(subscriber_id: str) -> PrismError:
    return PrismError(StatusCode.ABORTED, "SUBSCRIBER_REPLACED",
                      f"a later call subscribed as {subscriber_id!r}: give each subscriber an id of its own")


def slow_subscriber(pending: int, size: int) -> PrismError:
    return PrismError(StatusCode.RESOURCE_EXHAUSTED, "SLOW_SUBSCRIBER",
                      f"the subscriber did not read fast enough: {pending} messages, {size} bytes waited for it",
                      retry_after=QUEUE_FULL_RETRY_SECONDS)


def publish_queue_full(where: str) -> PrismError:
    return PrismError(StatusCode.RESOURCE_EXHAUSTED, "PUBLISH_QUEUE_FULL",
                      f"{where} takes messages slower than they come: publish less, or later",
                      {"outcome": "not_executed"}, retry_after=QUEUE_FULL_RETRY_SECONDS)


def retention_not_supported(bound: str, supported: frozenset[str]) -> PrismError:
    return PrismError(StatusCode.INVALID_ARGUMENT, "RETENTION_NOT_SUPPORTED",
                      f"this backend cannot bound a stream by {bound}; it can by {', '.join(sorted(supported))}",
                      field_name=f"max_{bound}")
