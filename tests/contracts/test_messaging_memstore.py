"""The suites of streams and topics with logs over the memory store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.contracts.stream_suites import (
    StreamBasicSuite,
    StreamGroupsSuite,
    StreamPartitioningSuite,
    StreamReplaySuite,
    StreamRetentionSuite,
)
from prism_proxy.testing.contracts.topic_log_suites import FilteringSuite, OrderingSuite, TopicLogSuite
from tests.contracts.messaging import serving


@pytest.fixture
async def messaging() -> AsyncIterator[Messaging]:
    async with serving("memstore", MemstoreConfig()) as found:
        yield found


class TestMemstore(
    StreamBasicSuite, StreamGroupsSuite, StreamReplaySuite, StreamRetentionSuite, TopicLogSuite, FilteringSuite,
    OrderingSuite,
):
    pass


class TestPartitions(StreamPartitioningSuite):
    @pytest.fixture
    async def messaging(self) -> AsyncIterator[Messaging]:
        async with serving("memstore", MemstoreConfig(), partitions=4) as found:
            yield found
