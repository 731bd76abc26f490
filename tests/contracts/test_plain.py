"""The shared suites over the plain drivers of this folder."""

from __future__ import annotations

import pytest

from prism_proxy.testing.clock import RealClock
from prism_proxy.testing.suites import suites_for
from tests.contracts.conftest import WITHOUT_NATIVE
from tests.contracts.plain_driver import PlainDriver

WAYS = WITHOUT_NATIVE


@pytest.fixture
def driver(clock: RealClock) -> PlainDriver:
    return PlainDriver(clock.seconds)


class TestPlain(suites_for(PlainDriver, ways=WAYS)):  # type: ignore[misc]
    pass
