"""The suites of messages over the memory store, with native handlers and without."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from prism_proxy import standard
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.contracts.stream_suites import StreamPartitioningSuite
from prism_proxy.testing.suites import PARTITIONS, messaging_suites_for
from tests.contracts.messaging import serving


@pytest.fixture
async def messaging() -> AsyncIterator[Messaging]:
    async with serving("memstore", MemstoreConfig()) as found:
        yield found


class TestMemstore(messaging_suites_for(MemstoreDriver)):  # type: ignore[misc]
    pass


class TestPartitions(StreamPartitioningSuite):
    @pytest.fixture
    async def messaging(self) -> AsyncIterator[Messaging]:
        async with serving("memstore", MemstoreConfig(), partitions=PARTITIONS) as found:
            yield found


class TestByServicers(messaging_suites_for(MemstoreDriver, models=("pubsub", "queue"))):  # type: ignore[misc]
    @pytest.fixture
    async def messaging(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Messaging]:
        monkeypatch.setitem(standard.BACKENDS, "memstore", standard.BACKENDS["memstore"]._replace(deferred={}))
        async with serving("memstore", MemstoreConfig()) as found:
            yield found
