"""`store` and `layered_store` put the driver of a module (its fixture `driver`) behind each layer in turn.

A module may name its layers in `WAYS`; `layered_store` leaves out the bare driver.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from prism_proxy.testing.contracts.serving import Way, subject
from prism_proxy.testing.contracts.subject import KeyValueSubject
from tests.contracts.clock import FakeClock, RealClock

# What is forwarded does not depend on the driver: one module forwards, memstore's.
HERE = tuple(way for way in Way if way is not Way.FORWARDED)
WITHOUT_NATIVE = tuple(way for way in HERE if way is not Way.NATIVE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" in metafunc.fixturenames:
        ways = getattr(metafunc.module, "WAYS", HERE)
        if "layered_store" in metafunc.fixturenames:
            ways = [way for way in ways if way is not Way.DRIVER]
        metafunc.parametrize("way", ways, ids=lambda way: way.value)


@pytest.fixture
def clock(way: Way) -> RealClock:
    return RealClock() if way in (Way.NATIVE, Way.FORWARDED) else FakeClock()


@pytest.fixture
async def store(way: Way, driver: Any, clock: RealClock) -> AsyncIterator[KeyValueSubject]:
    async with subject(way, driver, clock.wait) as under_test:
        yield under_test


@pytest.fixture
def layered_store(store: KeyValueSubject) -> KeyValueSubject:
    return store


@pytest.fixture
def stress_seconds() -> float:
    return 5.0 if os.environ.get("PRISM_SOAK") else 0.3
