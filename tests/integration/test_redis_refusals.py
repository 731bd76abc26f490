"""A Redis that refuses some calls by an error reply is there: calls that it would answer are not refused for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from redis.asyncio import Redis

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from tests.services import redis as service
from tests.services.proxy import proxy

pytestmark = pytest.mark.skipif(service.binary() is None, reason="redis-server is not to be had")

WRITERS, READERS = 16, 2
SECONDS = 1.5


async def _no_replicas(client: Redis) -> None:
    await client.config_set("min-replicas-to-write", 1)


async def _full(client: Redis) -> None:
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", "1")


async def _unwritable_snapshots(client: Redis) -> None:
    """MISCONF: the last snapshot failed."""
    await client.config_set("stop-writes-on-bgsave-error", "yes")
    await client.config_set("save", "3600 1")
    await client.config_set("rdbcompression", "no")
    folder = Path((await client.config_get("dir"))["dir"])
    (folder / "unwritable.rdb").mkdir()
    (folder / "unwritable.rdb" / "file").touch()
    await client.config_set("dbfilename", "unwritable.rdb")
    await client.bgsave()
    while (await client.info("persistence"))["rdb_last_bgsave_status"] == "ok":
        await asyncio.sleep(0.02)


async def _replica(client: Redis) -> None:
    """READONLY: it follows a primary that is not there."""
    await client.execute_command("REPLICAOF", service.HOST, service.free_port())


async def _no_permission(client: Redis) -> None:
    await client.execute_command("ACL", "SETUSER", "default", "-set")


REFUSALS: dict[str, tuple[Callable[[Redis], Awaitable[None]], str]] = {
    "NOREPLICAS": (_no_replicas, "BACKEND_UNAVAILABLE"),
    "OOM": (_full, "STORE_FULL"),
    "MISCONF": (_unwritable_snapshots, "BACKEND_CANNOT_PERSIST"),
    "READONLY": (_replica, "BACKEND_READ_ONLY"),
    "NOPERM": (_no_permission, "BACKEND_PERMISSION"),
}


def reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[service.RedisServer, Any, rpc.KeyValueBasicInterfaceStub]]:
    file = folder / "prism.yaml"
    async with service.RedisServer("--enable-protected-configs", "yes") as server:
        file.write_text(json.dumps({"namespaces": {"default": {
            "backends": {"store": {"driver": "redis", "config": {"url": server.url}}}}}}))
        async with proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel:
            yield server, process, rpc.KeyValueBasicInterfaceStub(channel)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_reads_go_on_while_redis_refuses_writes(tmp_path: Path, refusal: str) -> None:
    """Sixteen callers write and are refused; the two who read are answered, all of them, and no slower."""
    make, expected = REFUSALS[refusal]
    async with served(tmp_path) as (server, process, stub):
        await stub.Set(pb.SetRequest(key="k", value=b"v"), timeout=20)
        async with server.client() as client:
            await make(client)
        writes: Counter[str] = Counter()
        reads: Counter[str] = Counter()
        over = asyncio.Event()

        async def call(counted: Counter[str], make_call: Callable[[], Any]) -> None:
            while not over.is_set():
                try:
                    await make_call()
                    counted["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    counted[reason(error)] += 1
                await asyncio.sleep(0.005)

        callers = [asyncio.ensure_future(call(writes, lambda: stub.Set(pb.SetRequest(key="k", value=b"x"), timeout=20)))
                   for _ in range(WRITERS)]
        callers += [asyncio.ensure_future(call(reads, lambda: stub.Get(pb.GetRequest(key="k"), timeout=20)))
                    for _ in range(READERS)]
        await asyncio.sleep(SECONDS)
        over.set()
        await asyncio.gather(*callers)
        assert set(reads) == {"OK"}
        assert reads["OK"] > 20
        assert writes[expected] >= WRITERS
        assert writes["CIRCUIT_OPEN"] == writes["LOAD_SHED"] == 0
        _, body = await process.get("/ready")
        assert json.loads(body)["namespaces"]["default"]["circuit"] == "closed"
        _, metrics = await process.get("/metrics")
        found = [line for line in metrics.splitlines() if line.startswith("prism_concurrency_limit{")]
        assert all(float(line.rsplit(" ", 1)[1]) >= 16 for line in found), found


async def test_one_who_runs_a_long_script_opens_no_circuit(tmp_path: Path) -> None:
    """BUSY refuses reads too, as long as the script runs; at its end the next call is answered."""
    async with served(tmp_path) as (server, process, stub), server.client(socket_timeout=None) as client:
        await stub.Set(pb.SetRequest(key="k", value=b"v"), timeout=20)
        await client.config_set("busy-reply-threshold", 100)
        running = asyncio.ensure_future(client.eval(
            "local start = redis.call('TIME')[1] while redis.call('TIME')[1] - start < 2 do end", 0))
        await asyncio.sleep(0.2)
        refused: Counter[str] = Counter()
        while not running.done():
            try:
                await stub.Get(pb.GetRequest(key="k"), timeout=20)
            except grpc.aio.AioRpcError as error:
                refused[reason(error)] += 1
        assert set(refused) == {"BACKEND_BUSY"}
        assert (await stub.Get(pb.GetRequest(key="k"), timeout=20)).value == b"v"
        _, body = await process.get("/ready")
        assert json.loads(body)["namespaces"]["default"]["circuit"] == "closed"
