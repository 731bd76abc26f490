"""What the PubSub model declares. Imports no code that serves calls."""

from __future__ import annotations

from prism_proxy.contracts.pattern import ModelDeclaration
from prism_proxy.models.messaging_options import EnvelopeOptions, MessagingOptions
from prism_proxy.models.pubsub.contract import BASIC, BATCH, FILTERING, OPERATIONS, ORDERING, PERSISTENT, WILDCARDS
from prism_proxy.models.pubsub.options import PubSubOptions

_SERVICERS = "prism_proxy.models.pubsub.servicers."
DECLARATION = ModelDeclaration(
    "pubsub", "Messages by topic, to whoever subscribes.", "prism_proxy.models.pubsub.model:PubSubModel",
    PubSubOptions, {
        BASIC: _SERVICERS + "basic:PubSubBasicServicer",
        WILDCARDS: _SERVICERS + "wildcards:PubSubWildcardsServicer",
        PERSISTENT: _SERVICERS + "persistent:PubSubPersistentServicer",
        FILTERING: _SERVICERS + "filtering:PubSubFilteringServicer",
        ORDERING: _SERVICERS + "ordering:PubSubOrderingServicer",
        BATCH: _SERVICERS + "batch:PubSubBatchServicer",
        OPERATIONS: _SERVICERS + "operations:PubSubOperationsServicer",
    }, native_later=True, groups={"envelope": EnvelopeOptions, "messaging": MessagingOptions})
