"""The shared suites through a proxy with three workers, each call over another connection than the one before.

Every test has a namespace of its own, so all workers own some; what a call finds must not depend on the worker it
happens to reach.
"""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from prism_proxy._native.crc32 import partition_of
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.contracts.driver import Declaration
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
from tests.contracts.clock import RealClock
from tests.services.proxy import ProxyProcess, proxy
from tests.services.workers import running

SOAK = os.environ.get("PRISM_SOAK") == "1"
CONNECTIONS = 6
NAMESPACES = 160
FILES = 40
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 * 1024 * 1024)]


class RotatingChannel:
    """As a channel, but every call takes the next of several connections."""

    def __init__(self, address: str) -> None:
        self._channels = [grpc.aio.insecure_channel(address, OPTIONS) for _ in range(CONNECTIONS)]
        self._next = itertools.cycle(range(CONNECTIONS))

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._rotated([channel.unary_unary(*arguments, **options) for channel in self._channels])

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._rotated([channel.unary_stream(*arguments, **options) for channel in self._channels])

    def _rotated(self, methods: list[Any]) -> Any:
        return lambda *arguments, **options: methods[next(self._next)](*arguments, **options)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("workers")
    lines = ["namespaces:"]
    for number in range(NAMESPACES):
        lines.append(f"  memory-{number}: {{backends: {{store: {{driver: memstore}}}}}}")
    for number in range(FILES):
        path = folder / f"{number}.db"
        lines.append(f"  file-{number}: {{backends: {{store: {{driver: sqlite, config: {{path: {path}}}}}}}}}")
    file = folder / "prism.yaml"
    file.write_text("\n".join(lines))
    with running(proxy("--workers", "3", "--config", str(file))) as found:
        yield found


@pytest.fixture(scope="module")
def names(process: ProxyProcess) -> dict[str, Iterator[str]]:
    return {"memory": iter([f"memory-{number}" for number in range(NAMESPACES)]),
            "file": iter([f"file-{number}" for number in range(FILES)])}


async def subject_on(process: ProxyProcess, namespace: str, declaration: Declaration) -> AsyncIterator[WireSubject]:
    channel = RotatingChannel(process.address)
    yield WireSubject(channel, namespace, declaration, RealClock().wait)  # type: ignore[arg-type]
    await channel.close()


@pytest.fixture
def stress_seconds() -> float:
    return 5.0 if SOAK else 0.3


class TestMemory(
    KeyValueBasicSuite, KeyValueScanSuite, KeyValueBatchSuite, KeyValueCasSuite, KeyValueTransactionalSuite,
    KeyValueTogetherSuite, KeyValueRulesSuite, StressSuite,
):
    @pytest.fixture
    async def store(self, process: ProxyProcess, names: dict[str, Iterator[str]]) -> AsyncIterator[WireSubject]:
        async for subject in subject_on(process, next(names["memory"]), MemstoreDriver.declaration):
            yield subject

    @pytest.fixture
    def layered_store(self, store: WireSubject) -> WireSubject:
        return store


if SOAK:  # it waits for real expiry

    class TestMemoryTTL(KeyValueTTLSuite):
        store = TestMemory.store
        layered_store = TestMemory.layered_store
        test_KVT_set_with_ttl = None  # type: ignore[assignment] # noqa: N815 - it asks the driver, out of reach here


class TestFile(KeyValueBasicSuite):
    @pytest.fixture
    async def store(self, process: ProxyProcess, names: dict[str, Iterator[str]]) -> AsyncIterator[WireSubject]:
        async for subject in subject_on(process, next(names["file"]), MemstoreDriver.declaration):
            yield subject

    @pytest.fixture
    def layered_store(self, store: WireSubject) -> WireSubject:
        return store


def test_every_worker_owns_some_of_the_namespaces() -> None:
    """Or the suites above would show less than they say."""
    assert {partition_of(f"memory-{number}") % 3 for number in range(NAMESPACES)} == {0, 1, 2}
