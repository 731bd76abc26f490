"""The operations of the model as its slot sees them."""

from __future__ import annotations

from prism_proxy.interfaces.operations import operation
from prism_proxy.models.stream.contract import BASIC, GROUPS, OPERATIONS, PARTITIONING, REPLAY, RETENTION

APPEND = operation(BASIC, "Append")
READ = operation(BASIC, "Read")
LATEST_OFFSET = operation(BASIC, "GetLatestOffset")
CREATE_GROUP = operation(GROUPS, "CreateConsumerGroup")
JOIN = operation(GROUPS, "JoinConsumerGroup")
ACK = operation(GROUPS, "Ack")
NACK = operation(GROUPS, "Nack")
GROUP_INFO = operation(GROUPS, "GetConsumerGroupInfo")
SEEK_OFFSET = operation(REPLAY, "SeekToOffset")
SEEK_TIMESTAMP = operation(REPLAY, "SeekToTimestamp")
REPLAY_RANGE = operation(REPLAY, "ReplayRange", bulk=True)
SET_RETENTION = operation(RETENTION, "SetRetention")
GET_RETENTION = operation(RETENTION, "GetRetention")
COMPACT = operation(RETENTION, "Compact", bulk=True)
PARTITIONS = operation(PARTITIONING, "GetPartitions")
APPEND_TO_PARTITION = operation(PARTITIONING, "AppendToPartition")
LIST_STREAMS = operation(OPERATIONS, "ListStreams")
DESCRIBE = operation(OPERATIONS, "DescribeStream")
PURGE = operation(OPERATIONS, "PurgeStream")
DELETE_GROUP = operation(OPERATIONS, "DeleteConsumerGroup")
