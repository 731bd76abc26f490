"""The shared suites over the memory store."""

from __future__ import annotations

import pytest

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.testing.clock import RealClock
from prism_proxy.testing.contracts.serving import Way
from prism_proxy.testing.suites import suites_for

WAYS = tuple(Way)


@pytest.fixture
def driver(clock: RealClock) -> MemstoreDriver:
    return MemstoreDriver(MemstoreConfig(), clock.nanoseconds)


class TestMemstore(suites_for(MemstoreDriver, ways=WAYS)):  # type: ignore[misc]
    pass
