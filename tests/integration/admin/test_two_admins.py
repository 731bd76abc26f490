"""Two admins on one PostgreSQL database, as processes: one serves, and no write of the other is ever made."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import grpc
import pytest

from prism.admin.v1 import admin_pb2, admin_pb2_grpc
from prism_admin.storage.namespaces import Namespace
from prism_admin.storage.store import Store, open_store
from prism_runtime.storage.database_url import parse
from prism_runtime.storage.errors import LeaseLostError, StorageError
from prism_runtime.storage.lease import TERM_SECONDS, Lease
from tests.integration.admin.cluster import REDIS
from tests.services import postgres
from tests.services.admin import AdminProcess, run
from tests.support.fake_proxy import FakeProxy, until

Start = Callable[..., Awaitable[AdminProcess]]


@pytest.fixture
async def database(postgres_url: str) -> str:
    return await postgres.new_database(postgres_url)


@pytest.fixture
async def start(database: str, tmp_path: Path) -> AsyncIterator[Start]:
    """`start()` gives an admin that serves; `start(until=EVENT)` one that has said so."""
    started: list[AdminProcess] = []

    async def begin(until: str = "") -> AdminProcess:
        admin = AdminProcess(database, "--audit-key-file", str(tmp_path / "audit.key"))
        started.append(admin)
        return await (admin.spawn_until(until) if until else admin.start())

    yield begin
    for admin in started:
        if admin.process.returncode is None:
            admin.process.send_signal(signal.SIGCONT)
            await admin.kill()


async def create(admin: AdminProcess, name: str) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin.port}") as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        await stub.CreateNamespace(admin_pb2.CreateNamespaceRequest(name=name, config=REDIS), timeout=20)


async def test_the_second_waits_and_serves_as_soon_as_the_first_has_stopped(start: Start) -> None:
    first = await start()
    second = await start(until="another admin serves the database")
    assert (await second.get("/health"))[0] == 200
    status, body = await second.get("/ready")
    assert (status, bool(json.loads(body)["standby"])) == (503, True)
    assert "prism_admin_standby 1" in (await second.get("/metrics"))[1]
    proxy = await FakeProxy("proxy-01", first.port).start()
    await until(lambda: proxy.session.joined)
    await create(first, "orders")
    await proxy.stop()
    stopped = time.monotonic()
    assert await first.stop() == 0
    await second.serving()
    assert time.monotonic() - stopped < TERM_SECONDS / 2
    assert "prism_admin_standby 0" in (await second.get("/metrics"))[1]
    again = await FakeProxy("proxy-01", second.port).start()
    await until(lambda: again.serving == {"orders": 1})
    await again.stop()
    assert await second.stop() == 0


async def test_a_second_that_may_not_wait_says_who_serves(start: Start, database: str) -> None:
    first = await start()
    code, _, errors = await run("serve", "--db", database, "--no-standby", "--listen", "127.0.0.1:0",
                                "--metrics-listen", "off")
    last = errors.splitlines()[-1]
    assert code == 1
    assert f":{first.process.pid}:" in last
    assert "serves this database: stop it, or start" in last
    assert await first.stop() == 0


async def test_one_that_waits_ends_when_it_is_told_to(start: Start) -> None:
    await start()
    second = await start(until="another admin serves the database")
    second.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(second.process.wait(), 10) == 0


async def test_one_that_stood_still_too_long_writes_nothing_and_ends(start: Start, database: str) -> None:
    first = await start()
    proxy = await FakeProxy("proxy-01", first.port).start()
    await until(lambda: proxy.session.joined)
    await create(first, "orders")
    second = await start(until="another admin serves the database")
    first.process.send_signal(signal.SIGSTOP)
    await second.serving(3 * TERM_SECONDS)
    heir = await FakeProxy("proxy-01", second.port).start()
    await until(lambda: heir.session.joined)
    await create(second, "billing")
    lost = asyncio.ensure_future(create(first, "lost"))
    await asyncio.sleep(0.2)  # the call is in its socket
    first.process.send_signal(signal.SIGCONT)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await lost
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert await asyncio.wait_for(first.process.wait(), 2 * TERM_SECONDS) == 1
    connection = await asyncpg.connect(database)
    assert [row["name"] for row in await connection.fetch("SELECT name FROM namespaces ORDER BY name")] == [
        "billing", "orders"]
    await connection.close()
    await proxy.stop()
    await heir.stop()


async def test_a_write_that_began_before_the_lease_was_lost_is_whole_or_not_there(database: str) -> None:
    """The lease is taken by the second while transactions of the first are open: none of them commits afterwards."""
    stores = [await open_store(parse(database)) for _ in range(2)]
    first, second = (Lease(store.engine, "prism-admin", "admin_lease", term_s=0.3) for store in stores)
    await first.take(wait=False)
    leased = stores[0].leased(first)
    taken_at: list[int] = []
    made: list[str] = []

    async def write(lane: int) -> None:
        for number in range(100):
            name = f"w{lane}-{number}"
            try:
                await leased.namespaces.create(Namespace(name, 1, {"backends": {}}))
            except LeaseLostError:
                return
            made.append(name)

    async def take() -> None:
        await second.take(wait=True)
        taken_at.append(len(await stores[1].namespaces.page()))

    await asyncio.gather(take(), *(write(lane) for lane in range(8)))
    assert sorted(made) == [found.name for found in await stores[1].namespaces.page()]
    assert taken_at[0] >= len(made) - 8
    assert taken_at[0] <= len(made)
    with pytest.raises(LeaseLostError, match="another prism-admin"):
        await leased.proxies.seen({})
    await close(stores, second)


async def test_a_lease_outlives_a_database_that_is_away(database: str) -> None:
    stores = [await open_store(parse(database)) for _ in range(2)]
    first, second = (Lease(store.engine, "prism-admin", "admin_lease", term_s=0.3) for store in stores)
    lost: list[StorageError] = []
    await first.take(wait=False)
    first.start(lost.append)
    async with stores[1].engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE admin_lease RENAME TO away")
    await asyncio.sleep(0.6)
    async with stores[1].engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO admin_lease")
    await asyncio.sleep(0.3)
    await stores[0].leased(first).namespaces.create(Namespace("orders", 1, {}))
    with pytest.raises(StorageError, match="serves this database: stop it"):
        await second.take(wait=False)
    assert lost == []
    await close(stores, first)


async def close(stores: list[Store], lease: Lease) -> None:
    await lease.close()
    for store in stores:
        await store.close()
