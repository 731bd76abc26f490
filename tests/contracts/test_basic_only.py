"""A driver that declares one interface: the others are refused before any I/O."""

from __future__ import annotations

import pytest

from prism_proxy.testing.contracts.declaration import DeclarationSuite
from prism_proxy.testing.contracts.keyvalue_basic import KeyValueBasicSuite
from tests.contracts.conftest import WITHOUT_NATIVE
from tests.contracts.plain_driver import BasicDriver

WAYS = WITHOUT_NATIVE


@pytest.fixture
def driver() -> BasicDriver:
    return BasicDriver()


class TestBasicOnly(DeclarationSuite, KeyValueBasicSuite):
    pass
