"""The shared suites over Redis through a proxy with three workers, all of which serve the namespace themselves.

The long form runs them in a proxy of one process too.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.testing.contracts.keyvalue_basic import KeyValueBasicSuite
from prism_proxy.testing.contracts.keyvalue_batch import KeyValueBatchSuite
from prism_proxy.testing.contracts.keyvalue_cas import KeyValueCasSuite
from prism_proxy.testing.contracts.keyvalue_rules import KeyValueRulesSuite
from prism_proxy.testing.contracts.keyvalue_scan import KeyValueScanSuite
from prism_proxy.testing.contracts.keyvalue_together import KeyValueTogetherSuite
from prism_proxy.testing.contracts.keyvalue_transactional import KeyValueTransactionalSuite
from prism_proxy.testing.contracts.keyvalue_ttl import KeyValueTTLSuite
from prism_proxy.testing.contracts.stress import StressSuite
from prism_proxy.testing.contracts.wire_subject import WireSubject
from tests.contracts.test_redis import KeysClock, url  # noqa: F401 - a fixture
from tests.integration.test_workers_contracts import COUNTS, RotatingChannel, stress_seconds  # noqa: F401 - a fixture
from tests.services.proxy import ProxyProcess, proxy
from tests.services.workers import running


@pytest.fixture(scope="module", params=COUNTS, ids=lambda count: f"workers={count}")
def process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, url: str,  # noqa: F811
) -> Iterator[ProxyProcess]:
    file: Path = tmp_path_factory.mktemp("redis") / "prism.yaml"
    file.write_text(f"namespaces: {{shared: {{backends: {{store: {{driver: redis, config: {{url: '{url}'}}}}}}}}}}\n")
    with running(proxy("--workers", str(request.param), "--config", str(file))) as found:
        yield found


@pytest.fixture
async def store(process: ProxyProcess, url: str) -> AsyncIterator[WireSubject]:  # noqa: F811
    config = RedisConfig(url)
    keys = f"{config.prefix}shared:*"
    async with Redis.from_url(url) as client:
        await client.eval("for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end", 0, keys)
    channel = RotatingChannel(process.address)
    yield WireSubject(channel, "shared", config.declaration, KeysClock(url, keys).wait)  # type: ignore[arg-type]
    await channel.close()


@pytest.fixture
def layered_store(store: WireSubject) -> WireSubject:
    return store


class TestRedis(
    KeyValueBasicSuite, KeyValueScanSuite, KeyValueTTLSuite, KeyValueBatchSuite, KeyValueCasSuite,
    KeyValueTransactionalSuite, KeyValueTogetherSuite, KeyValueRulesSuite, StressSuite,
):
    versions_repeat = True  # they are digests of values
