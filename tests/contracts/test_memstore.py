"""The shared suites over the memory store."""

from __future__ import annotations

import pytest

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.testing.contracts.declaration import DeclarationSuite
from prism_proxy.testing.contracts.keyvalue_basic import KeyValueBasicSuite
from prism_proxy.testing.contracts.keyvalue_batch import KeyValueBatchSuite
from prism_proxy.testing.contracts.keyvalue_cas import KeyValueCasSuite
from prism_proxy.testing.contracts.keyvalue_rules import KeyValueRulesSuite
from prism_proxy.testing.contracts.keyvalue_scan import KeyValueScanSuite
from prism_proxy.testing.contracts.keyvalue_together import KeyValueTogetherSuite
from prism_proxy.testing.contracts.keyvalue_transactional import KeyValueTransactionalSuite
from prism_proxy.testing.contracts.keyvalue_ttl import KeyValueTTLSuite
from prism_proxy.testing.contracts.serving import Way
from prism_proxy.testing.contracts.stress import StressSuite
from tests.contracts.clock import RealClock

WAYS = tuple(Way)


@pytest.fixture
def driver(clock: RealClock) -> MemstoreDriver:
    return MemstoreDriver(MemstoreConfig(), clock.nanoseconds)


class TestMemstore(
    DeclarationSuite, KeyValueBasicSuite, KeyValueScanSuite, KeyValueTTLSuite, KeyValueBatchSuite, KeyValueCasSuite,
    KeyValueTransactionalSuite, KeyValueTogetherSuite, KeyValueRulesSuite, StressSuite,
):
    pass
