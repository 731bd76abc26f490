from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from prism_admin.app import AdminConfig
from prism_admin.storage.store import Store, open_store
from prism_runtime.storage.database_url import parse
from tests.integration.admin.cluster import Cluster


@pytest.fixture
async def store(urn: str) -> AsyncIterator[Store]:
    opened = await open_store(parse(urn))
    yield opened
    await opened.close()


@pytest.fixture
async def cluster(urn: str, tmp_path: Any) -> AsyncIterator[Cluster]:
    found = Cluster(AdminConfig(parse(urn), listen="127.0.0.1:0", audit_key_file=tmp_path / "audit.key", stale_s=3.0,
                                sweep_s=0.1))
    await found.start()
    yield found
    for proxy in found.proxies:
        await proxy.stop()
    await found.app.stop()
