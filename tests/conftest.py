"""Fixtures that more than one layer of tests uses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from scripts import tools
from tests.services import postgres, seaweedfs
from tests.services.proxy import ProxyProcess
from tests.services.proxy import proxy as new_proxy
from tests.services.seaweedfs import S3Server

pytest_plugins = ["tests.lanes.flaky", "tests.lanes.markers", "tests.lanes.scheduling"]

settings.register_profile("prism", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("prism")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What a failed test left running is ended: a thread that waits for it would keep this process from ending.

    The children of a controller are the processes that run the tests, and end by themselves.
    """
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        return
    for listed in Path("/proc/self/task").glob("*/children"):
        for child in listed.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3, shared: tests use buckets of their own."""
    with seaweedfs.server() as server:
        yield server


@pytest.fixture(scope="session")
def proxy() -> Iterator[ProxyProcess]:
    """A running proxy with default settings, shared: tests use keys of their own.

    It is watched by a loop in a thread, so that tests without a loop of their own can use it too.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    process = new_proxy()
    asyncio.run_coroutine_threadsafe(process.start(), loop).result(30)
    try:
        yield process
    finally:
        asyncio.run_coroutine_threadsafe(process.__aexit__(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def urn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind, for an admin."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'admin.db'}"
    return await postgres.new_database(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """`tool(name)` gives the path of a test client, or skips the test with the reason."""

    def find(name: str) -> Path:
        found = tools.path(name)
        if found is None:
            pytest.skip(f"{name} is not built: run `make tools` (needs Go)")
        return found

    return find
