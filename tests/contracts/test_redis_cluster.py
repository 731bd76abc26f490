"""The shared suites over a Redis cluster, but for transactions: the suite's keys are not in one slot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.testing.clock import RealClock
from prism_proxy.testing.contracts.keyvalue_basic import KeyValueBasicSuite
from prism_proxy.testing.contracts.keyvalue_batch import KeyValueBatchSuite
from prism_proxy.testing.contracts.keyvalue_cas import KeyValueCasSuite
from prism_proxy.testing.contracts.keyvalue_rules import KeyValueRulesSuite
from prism_proxy.testing.contracts.keyvalue_scan import KeyValueScanSuite
from prism_proxy.testing.contracts.keyvalue_ttl import KeyValueTTLSuite
from prism_proxy.testing.contracts.serving import Way
from tests.services.redis import RedisCluster, binary, running

WAYS = (Way.SERVER,)
_NUMBERS = itertools.count()


class NodesClock(RealClock):
    """Lets time pass for all keys of the cluster."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster

    async def wait(self, seconds: float) -> None:
        for node in self._cluster.nodes:
            async with node.client() as client:
                async for key in client.scan_iter(count=1000):
                    left = await client.pttl(key)
                    if left >= 0:
                        await client.pexpire(key, int(left - seconds * 1000))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisCluster()) as cluster:
        yield cluster


@pytest.fixture
def clock(cluster: RedisCluster) -> NodesClock:
    return NodesClock(cluster)


@pytest.fixture
def driver(cluster: RedisCluster) -> RedisDriver:
    """Of a namespace of its own."""
    nodes = tuple(node.address for node in cluster.nodes)
    return RedisDriver(RedisConfig(mode="cluster", nodes=nodes).within(f"contract{next(_NUMBERS)}"))


class TestRedisCluster(
    KeyValueBasicSuite, KeyValueScanSuite, KeyValueTTLSuite, KeyValueBatchSuite, KeyValueCasSuite, KeyValueRulesSuite,
):
    test_IFC3_transactions_of_too_many_keys_are_refused = None  # noqa: N815 - keys of many slots
