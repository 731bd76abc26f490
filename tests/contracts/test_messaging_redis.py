"""The suites of messages over Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.suites import messaging_suites_for
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


class TestRedis(messaging_suites_for(RedisDriver)):  # type: ignore[misc]
    pass
