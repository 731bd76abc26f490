"""The shared suites over a SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.testing.clock import RealClock
from prism_proxy.testing.suites import suites_for
from tests.contracts.conftest import WITHOUT_NATIVE

WAYS = WITHOUT_NATIVE


@pytest.fixture
def driver(clock: RealClock, tmp_path: Path) -> SqliteDriver:
    return SqliteDriver(SqliteConfig(str(tmp_path / "store.db")), clock.nanoseconds)


class TestSqlite(suites_for(SqliteDriver, ways=WAYS)):  # type: ignore[misc]
    pass
