"""The shared suites over a SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.testing.contracts.declaration import DeclarationSuite
from prism_proxy.testing.contracts.keyvalue_basic import KeyValueBasicSuite
from prism_proxy.testing.contracts.keyvalue_batch import KeyValueBatchSuite
from prism_proxy.testing.contracts.keyvalue_cas import KeyValueCasSuite
from prism_proxy.testing.contracts.keyvalue_rules import KeyValueRulesSuite
from prism_proxy.testing.contracts.keyvalue_scan import KeyValueScanSuite
from prism_proxy.testing.contracts.keyvalue_together import KeyValueTogetherSuite
from prism_proxy.testing.contracts.keyvalue_transactional import KeyValueTransactionalSuite
from prism_proxy.testing.contracts.keyvalue_ttl import KeyValueTTLSuite
from prism_proxy.testing.contracts.stress import StressSuite
from tests.contracts.clock import RealClock
from tests.contracts.conftest import WITHOUT_NATIVE

WAYS = WITHOUT_NATIVE


@pytest.fixture
def driver(clock: RealClock, tmp_path: Path) -> SqliteDriver:
    return SqliteDriver(SqliteConfig(str(tmp_path / "store.db")), clock.nanoseconds)


class TestSqlite(
    DeclarationSuite, KeyValueBasicSuite, KeyValueScanSuite, KeyValueTTLSuite, KeyValueBatchSuite, KeyValueCasSuite,
    KeyValueTransactionalSuite, KeyValueTogetherSuite, KeyValueRulesSuite, StressSuite,
):
    pass
