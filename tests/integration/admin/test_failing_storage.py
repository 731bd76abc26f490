"""What the admin does while its database fails, and once it is back: nothing that runs ends, nothing is forgotten."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from sqlalchemy import text

from admin_client import AdminError
from prism.admin.v1 import admin_pb2
from prism_runtime.storage.database_url import parse
from prism_runtime.storage.engine import make_engine
from tests.integration.admin.cluster import Cluster
from tests.support.fake_proxy import until

TABLES = ("proxies", "namespaces", "partition_map")


@contextlib.asynccontextmanager
async def outage(urn: str) -> AsyncIterator[None]:
    """Within the block no statement finds its table; PostgreSQL cuts the connections too, at both ends."""
    engine = make_engine(parse(urn))

    async def rename(change: str) -> None:
        async with engine.begin() as connection:
            for table in TABLES:
                await connection.execute(text(change.format(table)))
            if engine.dialect.name == "postgresql":
                await connection.execute(text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"))

    await rename("ALTER TABLE {0} RENAME TO away_{0}")
    try:
        yield
    finally:
        await rename("ALTER TABLE away_{0} RENAME TO {0}")
        await engine.dispose()


async def test_calls_say_that_storage_failed_and_everything_resumes(
    cluster: Cluster, urn: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxies = await cluster.join("proxy-01", "proxy-02", "proxy-03", "proxy-04")
    await cluster.create("orders")
    assert proxies[3].serving == {"orders": 1}
    async with outage(urn), cluster.admin() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListProxies(admin_pb2.ListProxiesRequest())
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.details().startswith("storage failed: ")
        details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
        assert b"STORAGE_FAILED" in details
        with pytest.raises(AdminError) as refused:
            await cluster.create("late")
        assert refused.value.code is grpc.StatusCode.INTERNAL
        await proxies[3].silence()
        await until(lambda: "silent proxies keep their partitions" in caplog.text)
        assert all(proxy.session.joined for proxy in proxies[:3])  # heartbeats need no database
    await until(lambda: any("orders" in proxy.serving for proxy in proxies[:3]))
    assert (await cluster.create("late")).success
