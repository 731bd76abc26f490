"""The fixtures of the contract suites, as a pytest plugin: `pytest_plugins = ["prism_proxy.testing.plugin"]`.

`store` is a test's driver behind each layer in turn (`way`); `layered_store` leaves out the bare driver. A class,
or its module as `WAYS`, may name its ways. Tests may override `driver`, and `clock`, by which time passes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.testing.clock import RealClock
from prism_proxy.testing.configured import CONFIG, configured
from prism_proxy.testing.contracts.messaging_serving import serving
from prism_proxy.testing.contracts.messaging_wire import Messaging
from prism_proxy.testing.contracts.serving import Way, subject
from prism_proxy.testing.contracts.subject import KeyValueSubject
from prism_proxy.testing.suites import IN_PROCESS

_NUMBERS = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" not in metafunc.fixturenames or "store" not in metafunc.fixturenames:
        return
    ways: Sequence[Way] = getattr(metafunc.cls, "ways", ()) or getattr(metafunc.module, "WAYS", IN_PROCESS)
    if "layered_store" in metafunc.fixturenames:
        ways = [way for way in ways if way is not Way.DRIVER]
    metafunc.parametrize("way", ways, ids=lambda way: way.value)


@pytest.fixture
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A new driver for each test, configured by PRISM_TEST_CONFIG, in a namespace of its own where it has such."""
    return configured(request.cls.driver_class, os.environ.get(CONFIG, ""), tmp_path,
                      f"contract-{os.getpid()}-{next(_NUMBERS)}")


@pytest.fixture
def clock(way: Way) -> RealClock:
    return RealClock()


@pytest.fixture
async def store(way: Way, driver: Any, clock: RealClock) -> AsyncIterator[KeyValueSubject]:
    async with subject(way, driver, clock.wait) as under_test:
        yield under_test


@pytest.fixture
async def messaging(request: pytest.FixtureRequest, driver: Any) -> AsyncIterator[Messaging]:
    """A namespace over the driver, for the suites of streams and topics; a class may name its `partitions`."""
    async with serving(driver, partitions=getattr(request.cls, "partitions", 1)) as found:
        yield found


@pytest.fixture
def layered_store(store: KeyValueSubject) -> KeyValueSubject:
    return store


@pytest.fixture
def stress_seconds() -> float:
    return 5.0 if os.environ.get("PRISM_SOAK") else 0.3
