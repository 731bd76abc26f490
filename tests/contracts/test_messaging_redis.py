"""The suites of streams and queues over Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from prism_proxy.backends.redis.config import RedisConfig
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
    StreamReplaySuite,
    StreamRetentionSuite,
)
from prism_proxy.testing.contracts.topic_suites import PubSubBasicSuite, PubSubBatchSuite, PubSubWildcardsSuite
from tests.contracts.messaging import serving
from tests.services.redis import RedisServer, binary, running


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture
async def messaging(redis: RedisServer) -> AsyncIterator[Messaging]:
    async with serving("redis", RedisConfig(url=redis.url, prefix=f"{time.time_ns()}:")) as found:
        yield found


class TestRedis(StreamBasicSuite, StreamGroupsSuite, StreamReplaySuite, StreamRetentionSuite):
    pass


class TestQueues(
    QueueBasicSuite, QueueVisibilitySuite, QueueDeadLetterSuite, QueuePrioritySuite, QueueDelayedSuite,
    QueueBatchSuite,
):
    pass


class TestTopics(PubSubBasicSuite, PubSubWildcardsSuite, PubSubBatchSuite):
    pass
