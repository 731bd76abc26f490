"""Namespaces on one Redis server share its connections, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from prism_proxy._native.redis.resp import PipelineFull
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.backends.shared_pools import SharedPools
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import RedisServer, binary
from tests.services.shim import Shim
from tests.support.ledger import Ledger

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")

MANY = 1000
CONNECTIONS = 3  # two for commands and one for what is large


def written(file: Path, namespaces: dict[str, dict[str, Any]]) -> None:
    file.write_text(json.dumps({"namespaces": {
        name: {"backends": {"store": {"driver": "redis", "config": config}},
               "resilience": {"circuit": {"reset_timeout_s": 1}}} for name, config in namespaces.items()}}))


async def clients(server: RedisServer) -> dict[str, str]:
    """The user of each connection of a proxy, by the server's number of the connection."""
    async with server.client() as client:
        return {found["id"]: found.get("user", "") for found in await client.client_list()
                if found["name"] == "prism-proxy"}


async def metric(process: ProxyProcess, line: str) -> float:
    _, text = await process.get("/metrics")
    return next(float(found.rsplit(" ", 1)[1]) for found in text.splitlines() if found.startswith(line))


@contextlib.asynccontextmanager
async def drivers(*configs: RedisConfig) -> AsyncIterator[list[RedisDriver]]:
    """Of one process, with the namespaces n0, n1, and so on."""
    shared_pools = SharedPools()
    made = [RedisDriver(config.within(f"n{number}"), shared_pools) for number, config in enumerate(configs)]
    await asyncio.gather(*(driver.open() for driver in made))
    try:
        yield made
    finally:
        await asyncio.gather(*(driver.close() for driver in made))


async def test_a_thousand_namespaces_have_the_connections_of_one(tmp_path: Path) -> None:
    """Namespaces come and go under load: no call fails and no connection is lost. The server dies, and all are back."""
    file = tmp_path / "prism.yaml"
    async with RedisServer() as server:
        config = {"url": server.url}
        names = [f"n{number}" for number in range(MANY)]
        written(file, dict.fromkeys(names, config))
        async with proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel:
            before = await clients(server)
            assert len(before) == CONNECTIONS
            assert await metric(process, "prism_backend_server_connections") == CONNECTIONS
            assert await metric(process, "prism_backend_pool_size") == CONNECTIONS
            async with contextlib.AsyncExitStack() as load:
                ledgers = [await load.enter_async_context(Ledger(channel, name, callers=2, deadline_s=10))
                           for name in names[::100]]
                for changed in (names[::2], [*names, "new"]):
                    await asyncio.gather(*(ledger.progress(10) for ledger in ledgers))
                    written(file, dict.fromkeys(changed, config))
                    process.signal(signal.SIGHUP)
                    await process.line("configuration reloaded")
                await asyncio.gather(*(ledger.progress(10) for ledger in ledgers))
            assert [ledger.failures for ledger in ledgers if ledger.failures] == []
            assert await clients(server) == before
            await server.kill()
            await server.start()
            stub = rpc.KeyValueBasicInterfaceStub(channel)
            await asyncio.gather(*(stub.Set(
                pb.SetRequest(key="k", value=b"v"), timeout=20, metadata=(("x-namespace", name),)) for name in names))
            assert len(await clients(server)) == CONNECTIONS
            written(file, {})
            process.signal(signal.SIGHUP)
            await process.line("configuration reloaded")
            async with asyncio.timeout(20):
                while await clients(server):
                    await asyncio.sleep(0.02)


async def test_only_those_share_that_speak_as_one_user_in_one_way() -> None:
    users = ("one on >secret-1 ~* +@all", "two on >secret-2 ~* +@all")
    async with RedisServer(*(word for user in users for word in ("--user", *user.split()))) as server:
        one = RedisConfig(server.url, username="one", password="secret-1")
        two = RedisConfig(server.url, username="two", password="secret-2")
        same = RedisConfig(server.url.replace("//", "//one:secret-1@"), prefix="other:", max_pending=5, bulk_bytes=2000)
        wrong = RedisConfig(server.url, username="one", password="secret-2")
        elsewhere = RedisConfig(server.url + "/1", username="one", password="secret-1")
        patient = RedisConfig(server.url, username="one", password="secret-1", read_timeout_s=9)
        async with drivers(one, two, same, wrong, elsewhere, patient) as made:
            found = list((await clients(server)).values())
            assert sorted(found) == ["one"] * 3 * CONNECTIONS + ["two"] * CONNECTIONS
            details = [driver.health().details for driver in made]
            assert [told["pool_namespaces"] for told in details] == ["2", "1", "2", "1", "1", "1"]
            assert len({told["pool"] for told in details}) == 5
            assert {told["server"] for told in details} == {server.address}
            assert [told["total_conns"] for told in details] == ["3", "3", "3", "0", "3", "3"]
            assert "secret" not in str(details)
            await made[0].set(b"key", b"0")
            assert await asyncio.gather(*(made[number].get(b"key") for number in (1, 2, 4, 5))) == [None] * 4
            await made[0].close()
            assert (await made[2].get(b"key"), len(await clients(server))) == (None, 4 * CONNECTIONS)
            await made[0].open()
            await made[2].close()
            assert await made[0].get(b"key") == b"0"


async def test_a_namespace_that_fills_a_connection_leaves_the_others_their_part() -> None:
    async with RedisServer() as server, Shim("127.0.0.1", server.port) as shim:
        config = RedisConfig(f"redis://127.0.0.1:{shim.port}", max_pending=100, connections=1, max_wait_s=0)
        async with drivers(config, config, config) as made:
            shim.hold()
            calls = [[asyncio.ensure_future(driver.set(b"%d" % number, b"value")) for number in range(count)]
                     for driver, count in zip(made, (150, 150, 1), strict=True)]
            await asyncio.sleep(0)
            shim.release()
            ended = [await asyncio.gather(*some, return_exceptions=True) for some in calls]
            refused = [[error for error in some if isinstance(error, Exception)] for some in ended]
            assert [len(some) for some in refused] == [50, 100, 0]
            assert {type(error) for some in refused for error in some} == {PipelineFull}
            assert await made[0].get(b"1") == b"value"
            assert [driver.health().details["pending"] for driver in made] == ["0"] * 3


async def test_batches_of_many_namespaces_wait_for_their_part() -> None:
    """Each may have two commands in the connection at once, and has fifty."""
    async with RedisServer() as server:
        config = RedisConfig(server.url, max_pending=40)
        async with drivers(*[config] * 20) as made:
            items = [(b"key%d" % number, b"%d" % number) for number in range(50)]
            assert await asyncio.gather(*(driver.batch_set(items) for driver in made)) == [[None] * 50] * 20
            keys = [key for key, _ in items]
            assert await asyncio.gather(*(driver.batch_get(keys) for driver in made)) == [
                [value for _, value in items]] * 20
            assert await asyncio.gather(*(driver.batch_delete(keys) for driver in made)) == [[True] * 50] * 20
