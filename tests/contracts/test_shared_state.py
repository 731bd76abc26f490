"""The suites over a driver of shared state: a slot that guards its backend changes nothing while all is well."""

from __future__ import annotations

import dataclasses

import pytest

from prism_proxy.testing.clock import RealClock
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
from tests.contracts.plain_driver import PlainDriver

WAYS = (Way.PATTERN, Way.SERVER)


class SharedDriver(PlainDriver):
    declaration = dataclasses.replace(PlainDriver.declaration, name="shared", state="shared")


@pytest.fixture
def driver(clock: RealClock) -> SharedDriver:
    return SharedDriver(clock.seconds)


class TestSharedState(
    KeyValueBasicSuite, KeyValueScanSuite, KeyValueTTLSuite, KeyValueBatchSuite, KeyValueCasSuite,
    KeyValueTransactionalSuite, KeyValueTogetherSuite, KeyValueRulesSuite, StressSuite,
):
    pass
