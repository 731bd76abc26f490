"""An admin whose database stands behind pgbouncer in transaction mode, and connection parameters as libpq has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest

from prism.admin.v1 import admin_pb2, admin_pb2_grpc
from tests.integration.admin.cluster import REDIS
from tests.services import postgres
from tests.services.admin import AdminProcess, run
from tests.services.pgbouncer import pgbouncer
from tests.support.fake_proxy import FakeProxy, until

LANES, CALLS = 16, 10


@pytest.fixture
def pooled(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    with pgbouncer(asyncio.run(postgres.new_database(postgres_url)), tmp_path) as url:
        yield url


def admin(urn: str, folder: Path) -> AdminProcess:
    return AdminProcess(urn, "--audit-key-file", str(folder / "audit.key"), "--rate-limits", "0,0,0")


async def work(stub: Any, lane: str) -> None:
    """Each answer must be that of its own question."""
    for number in range(CALLS):
        name = f"{lane}-{number}"
        made = await stub.CreateNamespace(admin_pb2.CreateNamespaceRequest(name=name, config=REDIS), timeout=20)
        assert made.namespace.name == name
        shown, listed, proxies = await asyncio.gather(
            stub.GetNamespace(admin_pb2.GetNamespaceRequest(name=name), timeout=20),
            stub.ListNamespaces(admin_pb2.ListNamespacesRequest(page_size=1000), timeout=20),
            stub.ListProxies(admin_pb2.ListProxiesRequest(), timeout=20))
        assert (shown.namespace.name, shown.namespace.config_version) == (name, 1)
        assert name in [found.name for found in listed.namespaces]
        assert [found.proxy_id for found in proxies.proxies] == ["proxy-01"]


async def test_every_call_is_answered_also_after_a_restart(pooled: str, tmp_path: Path) -> None:
    for round_ in range(2):
        serving = await admin(pooled, tmp_path).start()
        proxy = await FakeProxy("proxy-01", serving.port).start()
        await until(lambda proxy=proxy: proxy.session.joined)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            await asyncio.gather(*(work(stub, f"r{round_}-l{lane}") for lane in range(LANES)))
            entries = [entry async for entry in stub.GetAuditLog(
                admin_pb2.GetAuditLogRequest(operation="CreateNamespace", limit=1000))]
        assert len(entries) == (round_ + 1) * LANES * CALLS
        assert all(entry.success for entry in entries)
        await proxy.stop()
        assert await serving.stop() == 0


async def test_a_folder_of_a_socket_and_parameters(postgres_url: str, tmp_path: Path) -> None:
    url = urlsplit(await postgres.new_database(postgres_url))
    folder = parse_qs(url.query).get("host", [""])[0]
    if not folder.startswith("/"):
        pytest.skip("this PostgreSQL has no Unix socket")
    urn = f"postgresql://{url.path}?host={folder}&user=postgres&sslmode=disable&application_name=prism"
    serving = await admin(urn, tmp_path).start()
    assert await serving.stop() == 0
    assert f"?host={folder}" in serving.said


@pytest.mark.parametrize("more", ["sslmode=require", "sslmode=verify-full&sslrootcert=/nowhere.pem", "colour=red",
                                  "channel_binding=require", "options=-c%20nonsense%3D1", "sslmode=on"])
async def test_what_cannot_be_had_is_one_line(pooled: str, more: str) -> None:
    code, _, errors = await run(
        "serve", "--db", f"{pooled}?{more}", "--listen", "127.0.0.1:0", "--metrics-listen", "off")
    assert (code, len(errors.splitlines())) == (1, 1), errors
    assert errors.startswith("prism-admin: database ")
