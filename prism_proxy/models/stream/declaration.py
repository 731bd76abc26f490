"""What the Stream model declares. Imports no code that serves calls."""

from __future__ import annotations

from prism_proxy.contracts.pattern import ModelDeclaration
from prism_proxy.models.messaging_options import EnvelopeOptions, MessagingOptions
from prism_proxy.models.stream.contract import BASIC, GROUPS, OPERATIONS, PARTITIONING, REPLAY, RETENTION
from prism_proxy.models.stream.options import StreamOptions

_SERVICERS = "prism_proxy.models.stream.servicers."
DECLARATION = ModelDeclaration(
    "stream", "Partitioned logs of records.", "prism_proxy.models.stream.model:StreamModel", StreamOptions, {
        BASIC: _SERVICERS + "basic:StreamBasicServicer",
        GROUPS: _SERVICERS + "groups:StreamConsumerGroupsServicer",
        REPLAY: _SERVICERS + "replay:StreamReplayServicer",
        RETENTION: _SERVICERS + "retention:StreamRetentionServicer",
        PARTITIONING: _SERVICERS + "partitioning:StreamPartitioningServicer",
        OPERATIONS: _SERVICERS + "operations:StreamOperationsServicer",
    }, groups={"envelope": EnvelopeOptions, "messaging": MessagingOptions})
