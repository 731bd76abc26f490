"""The shared suites through a real proxy with three workers, each call over another connection than the one before.

Every test has a namespace of its own, so all workers own some; what a call finds must not depend on the worker it
happens to reach. Cases in which keys expire take real time here, and so run all at once. The long form runs everything
in a proxy of one process too.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.testing.clock import RealClock
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
from tests.services.proxy import ProxyProcess, proxy
from tests.services.workers import running

SOAK = os.environ.get("PRISM_SOAK") == "1"
COUNTS = [3, 1] if SOAK else [3]
CONNECTIONS = 6
NAMESPACES = 190  # of each backend
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 * 1024 * 1024)]
DECLARATIONS = {"memstore": MemstoreDriver.declaration, "sqlite": SqliteConfig("any").declaration}
WAITING = ("test_KVT_expired_keys_are_gone_for_every_interface", "test_KVX_conflict_with_an_expiry")
EXPIRING = [(KeyValueTogetherSuite, name) for name in WAITING] + [
    (KeyValueTTLSuite, name) for name in vars(KeyValueTTLSuite) if name.startswith("test_")]


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


@pytest.fixture(scope="module", params=COUNTS, ids=lambda count: f"workers={count}")
def process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("workers")
    lines = ["namespaces:"]
    for number in range(NAMESPACES):
        path = folder / f"{number}.db"
        lines.append(f"  memstore-{number}: {{backends: {{store: {{driver: memstore}}}}}}")
        lines.append(f"  sqlite-{number}: {{backends: {{store: {{driver: sqlite, config: {{path: {path}}}}}}}}}")
    file = folder / "prism.yaml"
    file.write_text("\n".join(lines))
    with running(proxy("--workers", str(request.param), "--config", str(file))) as found:
        yield found


@pytest.fixture(scope="module")
def names(process: ProxyProcess) -> dict[str, Iterator[str]]:
    """Namespaces of each backend that no test had yet."""
    return {backend: map(f"{backend}-{{}}".format, range(NAMESPACES)) for backend in DECLARATIONS}


@contextlib.asynccontextmanager
async def subject(process: ProxyProcess, backend: str, names: dict[str, Iterator[str]]) -> AsyncIterator[WireSubject]:
    channel = RotatingChannel(process.address)
    yield WireSubject(channel, next(names[backend]), DECLARATIONS[backend], RealClock().wait)  # type: ignore[arg-type]
    await channel.close()


@pytest.fixture
def stress_seconds() -> float:
    return 5.0 if SOAK else 0.3


class Suites(
    KeyValueBasicSuite, KeyValueScanSuite, KeyValueBatchSuite, KeyValueCasSuite, KeyValueTransactionalSuite,
    KeyValueTogetherSuite, KeyValueRulesSuite, StressSuite,
):
    """All that need no real time; `backend` says over what."""

    backend: str
    test_KVT_expired_keys_are_gone_for_every_interface = None  # type: ignore[assignment] # noqa: N815
    test_KVX_conflict_with_an_expiry = None  # type: ignore[assignment] # noqa: N815

    @pytest.fixture
    async def store(self, process: ProxyProcess, names: dict[str, Iterator[str]]) -> AsyncIterator[WireSubject]:
        async with subject(process, self.backend, names) as store:
            yield store

    @pytest.fixture
    def layered_store(self, store: WireSubject) -> WireSubject:
        return store


class TestMemstore(Suites):
    backend = "memstore"


class TestSqlite(Suites):
    backend = "sqlite"


async def test_expiry_in_real_time(process: ProxyProcess, names: dict[str, Iterator[str]]) -> None:
    """KVT, and what others of the suites wait for."""

    async def run(backend: str, suite: type, name: str) -> None:
        async with subject(process, backend, names) as store:
            try:
                await getattr(suite(), name)(store)
            except Exception as error:
                error.add_note(f"in {name} over {backend}")
                raise

    outcomes = await asyncio.gather(
        *(run(backend, suite, name) for backend in DECLARATIONS for suite, name in EXPIRING), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failures:
        raise ExceptionGroup("cases that failed", failures)


@pytest.mark.parametrize("backend", DECLARATIONS)
def test_every_worker_owns_some_of_the_namespaces(backend: str) -> None:
    """Or the suites above would show less than they say."""
    assert {partition_of(f"{backend}-{number}") % 3 for number in range(NAMESPACES)} == {0, 1, 2}
