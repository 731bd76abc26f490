"""A registry that keeps nothing, within the loop of the test or as a process, and an empty database of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_schema_registry.app import App
from prism_schema_registry.options import RegistryOptions
from tests.services.postgres import new_database
from tests.services.schema_registry import RegistryProcess, Rest


@pytest.fixture
async def rest(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Rest]:
    app = App(RegistryOptions(memory=True, port=0, grpc_listen="off", metrics_listen="off"))
    await app.start()
    try:
        async with Rest(f"http://127.0.0.1:{app.port}") as client:
            yield client
    finally:
        await app.stop()
    assert [record.getMessage() for record in caplog.records if record.getMessage() == "a request failed"] == []


@pytest.fixture
async def registry() -> AsyncIterator[RegistryProcess]:
    process = await RegistryProcess("--memory").start()
    yield process
    assert await process.stop() == 0
    assert '"defect"' not in process.said, process.said


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path / 'schemas.db'}"
    return await new_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def postgres_database(postgres_url: str) -> str:
    return await new_database(postgres_url)
