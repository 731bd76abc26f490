from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from prism_admin.storage.store import Store, open_store
from prism_admin.storage.urn import parse
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
