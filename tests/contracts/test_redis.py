"""The shared suites over a real Redis. Time passes by moving the expiries of a namespace's keys towards the present."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.testing.clock import RealClock
from prism_proxy.testing.suites import suites_for
from tests.services.redis import RedisServer, binary, given, running

_NUMBERS = itertools.count()
_PASS = """
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local left = redis.call('PTTL', key)
  if left >= 0 then redis.call('PEXPIRE', key, left - tonumber(ARGV[2])) end
end
"""


class KeysClock(RealClock):
    """Lets time pass for the keys that match a pattern, and for nothing else."""

    def __init__(self, url: str, pattern: str) -> None:
        self._url, self._pattern = url, pattern

    async def wait(self, seconds: float) -> None:
        async with Redis.from_url(self._url) as client:
            await client.eval(_PASS, 0, self._pattern, int(seconds * 1000))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a server that runs for the module."""
    found = given()
    if found:
        yield found
        return
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server.url


@pytest.fixture
async def config(url: str) -> AsyncIterator[RedisConfig]:
    """Of a namespace of its own."""
    config = RedisConfig(url).within(f"contract {next(_NUMBERS)}*")
    yield config
    async with Redis.from_url(url) as client:
        keys = await client.keys(config.key_prefix.replace(b"*", b"\\*") + b"*")
        if keys:
            await client.delete(*keys)


@pytest.fixture
def clock(config: RedisConfig) -> KeysClock:
    return KeysClock(config.url, config.key_prefix.decode().replace("*", "\\*") + "*")


@pytest.fixture
def driver(config: RedisConfig) -> RedisDriver:
    return RedisDriver(config)


class TestRedis(suites_for(RedisDriver)):  # type: ignore[misc]
    versions_repeat = True  # they are digests of values
