from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from prism_admin.app import AdminConfig
from prism_admin.storage.store import Store, open_store
from prism_admin.storage.urn import parse
from tests.integration.admin.cluster import Cluster
from tests.services import postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def urn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'admin.db'}"
    return await postgres.new_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def store(urn: str) -> AsyncIterator[Store]:
    opened = await open_store(parse(urn))
    yield opened
    await opened.close()


@pytest.fixture
async def cluster(urn: str, tmp_path: Any) -> AsyncIterator[Cluster]:
    found = Cluster(AdminConfig(parse(urn), listen="127.0.0.1:0", audit_key_file=tmp_path / "audit.key", stale_s=1.0,
                                sweep_s=0.1))
    await found.start()
    yield found
    for proxy in found.proxies:
        await proxy.stop()
    await found.app.stop()
