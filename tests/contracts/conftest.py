"""`store` and `layered_store` put the driver of a module (its fixture `driver`) behind each layer in turn.

A module may name its layers in `WAYS`; `layered_store` leaves out the bare driver.
"""

from __future__ import annotations

import pytest

from prism_proxy.testing.clock import FakeClock, RealClock
from prism_proxy.testing.contracts.serving import Way
from prism_proxy.testing.plugin import (  # noqa: F401 - fixtures of the suites, and the hook that names their ways
    layered_store,
    pytest_generate_tests,
    store,
    stress_seconds,
)

# What is forwarded does not depend on the driver: one module forwards, memstore's.
HERE = tuple(way for way in Way if way is not Way.FORWARDED)
WITHOUT_NATIVE = tuple(way for way in HERE if way is not Way.NATIVE)


@pytest.fixture
def clock(way: Way) -> RealClock:
    return RealClock() if way in (Way.NATIVE, Way.FORWARDED) else FakeClock()
