"""The suites of streams, queues and topics with logs over SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.contracts.queue_suites import (
    QueueBasicSuite,
    QueueBatchSuite,
    QueueDeadLetterSuite,
    QueueDelayedSuite,
    QueuePrioritySuite,
    QueueVisibilitySuite,
)
from prism_proxy.testing.contracts.stream_suites import (
    StreamBasicSuite,
    StreamGroupsSuite,
    StreamPartitioningSuite,
    StreamReplaySuite,
    StreamRetentionSuite,
)
from prism_proxy.testing.contracts.topic_log_suites import FilteringSuite, OrderingSuite, TopicLogSuite
from prism_proxy.testing.contracts.topic_suites import PubSubBasicSuite, PubSubBatchSuite, PubSubWildcardsSuite
from tests.contracts.messaging import serving


@pytest.fixture
async def messaging(tmp_path: Path) -> AsyncIterator[Messaging]:
    async with serving("sqlite", SqliteConfig(path=str(tmp_path / "m.db"))) as found:
        yield found


class TestSqlite(
    StreamBasicSuite, StreamGroupsSuite, StreamReplaySuite, StreamRetentionSuite, TopicLogSuite, FilteringSuite,
    OrderingSuite,
):
    pass


class TestPartitions(StreamPartitioningSuite):
    @pytest.fixture
    async def messaging(self, tmp_path: Path) -> AsyncIterator[Messaging]:
        async with serving("sqlite", SqliteConfig(path=str(tmp_path / "m.db")), partitions=4) as found:
            yield found


class TestQueues(
    QueueBasicSuite, QueueVisibilitySuite, QueueDeadLetterSuite, QueuePrioritySuite, QueueDelayedSuite,
    QueueBatchSuite,
):
    pass


class TestTopics(PubSubBasicSuite, PubSubWildcardsSuite, PubSubBatchSuite):
    pass
