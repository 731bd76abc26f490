"""The suites of messages over SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.contracts.stream_suites import StreamPartitioningSuite
from prism_proxy.testing.suites import PARTITIONS, messaging_suites_for
from tests.contracts.messaging import serving


@pytest.fixture
async def messaging(tmp_path: Path) -> AsyncIterator[Messaging]:
    async with serving("sqlite", SqliteConfig(path=str(tmp_path / "m.db"))) as found:
        yield found


class TestSqlite(messaging_suites_for(SqliteDriver)):  # type: ignore[misc]
    pass


class TestPartitions(StreamPartitioningSuite):
    @pytest.fixture
    async def messaging(self, tmp_path: Path) -> AsyncIterator[Messaging]:
        async with serving("sqlite", SqliteConfig(path=str(tmp_path / "m.db")), partitions=PARTITIONS) as found:
            yield found
