"""The suites of streams, queues and topics with logs over the memory store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from prism_proxy import standard
from prism_proxy.backends.memstore.config import MemstoreConfig
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


class TestQueues(
    QueueBasicSuite, QueueVisibilitySuite, QueueDeadLetterSuite, QueuePrioritySuite, QueueDelayedSuite,
    QueueBatchSuite,
):
    pass


class TestTopics(PubSubBasicSuite, PubSubWildcardsSuite, PubSubBatchSuite):
    pass


class TestTopicsByServicers(PubSubBasicSuite, PubSubWildcardsSuite, PubSubBatchSuite):
    @pytest.fixture
    async def messaging(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Messaging]:
        async with by_servicers(monkeypatch) as found:
            yield found


class TestQueuesByServicers(
    QueueBasicSuite, QueueVisibilitySuite, QueueDeadLetterSuite, QueuePrioritySuite, QueueDelayedSuite,
    QueueBatchSuite,
):
    @pytest.fixture
    async def messaging(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Messaging]:
        async with by_servicers(monkeypatch) as found:
            yield found


def by_servicers(monkeypatch: pytest.MonkeyPatch) -> AbstractAsyncContextManager[Messaging]:
    """Without native handlers of messages."""
    monkeypatch.setitem(standard.BACKENDS, "memstore", standard.BACKENDS["memstore"]._replace(deferred={}))
    return serving("memstore", MemstoreConfig())
