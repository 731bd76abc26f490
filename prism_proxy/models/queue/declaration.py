"""What the Queue model declares. Imports no code that serves calls."""

from __future__ import annotations

from prism_proxy.contracts.pattern import ModelDeclaration
from prism_proxy.models.messaging_options import EnvelopeOptions, MessagingOptions
from prism_proxy.models.queue.contract import BASIC, BATCH, DEAD_LETTER, DELAYED, OPERATIONS, PRIORITY, VISIBILITY
from prism_proxy.models.queue.options import QueueOptions

_SERVICERS = "prism_proxy.models.queue.servicers."
DECLARATION = ModelDeclaration(
    "queue", "Messages for one consumer each, until it has settled them.", "prism_proxy.models.queue.model:QueueModel",
    QueueOptions, {
        BASIC: _SERVICERS + "basic:QueueBasicServicer",
        VISIBILITY: _SERVICERS + "visibility:QueueVisibilityServicer",
        DEAD_LETTER: _SERVICERS + "dead_letter:QueueDeadLetterServicer",
        PRIORITY: _SERVICERS + "priority:QueuePriorityServicer",
        DELAYED: _SERVICERS + "delayed:QueueDelayedServicer",
        BATCH: _SERVICERS + "batch:QueueBatchServicer",
        OPERATIONS: _SERVICERS + "operations:QueueOperationsServicer",
    }, native_later=True, groups={"envelope": EnvelopeOptions, "messaging": MessagingOptions})
