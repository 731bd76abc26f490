"""The operations of queues at a slot."""

from __future__ import annotations

from prism_proxy.interfaces.operations import operation
from prism_proxy.models.queue.contract import BASIC, BATCH, DEAD_LETTER, DELAYED, OPERATIONS, VISIBILITY

ENQUEUE = operation(BASIC, "Enqueue")
ENQUEUE_BATCH = operation(BATCH, "EnqueueBatch", bulk=True)
DEQUEUE = operation(BASIC, "Dequeue")
PEEK = operation(BASIC, "Peek")
LEASE = operation(VISIBILITY, "DequeueWithTimeout")
EXTEND = operation(VISIBILITY, "ExtendVisibility")
RELEASE = operation(VISIBILITY, "Release")
RELEASE_BATCH = operation(BATCH, "ReleaseBatch", bulk=True)
CONFIGURE_DEAD_LETTER = operation(DEAD_LETTER, "ConfigureDeadLetter")
GET_DEAD_LETTER_QUEUE = operation(DEAD_LETTER, "GetDeadLetterQueue")
REDRIVE = operation(DEAD_LETTER, "Redrive", bulk=True)
GET_SCHEDULED_COUNT = operation(DELAYED, "GetScheduledCount")
LIST_QUEUES = operation(OPERATIONS, "ListQueues")
DESCRIBE = operation(OPERATIONS, "DescribeQueue")
PURGE = operation(OPERATIONS, "PurgeQueue")
