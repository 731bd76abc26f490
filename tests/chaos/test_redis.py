"""A real proxy over a real Redis that stops, dies, fails over, or sits behind a broken network.

Calls end within their deadlines and say what became of them; no reply reaches another caller; what was acknowledged is
found; nothing piles up; and all is well again without a restart of the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import RedisServer, Replicas, binary
from tests.services.shim import Fault, Shim
from tests.support.ledger import Ledger

SOAK = bool(os.environ.get("PRISM_SOAK"))
STOPPED_S = 30 if SOAK else 4  # longer than the read timeout of 3 s
FAULTY_S = 30 if SOAK else 1.5
GROWTH_BYTES = 16 * 1024 * 1024
CONFIG = """
namespaces:
  cache:
    backends: {{store: {{driver: redis, config: {{{settings}}}}}}}
    resilience: {{circuit: {{reset_timeout_s: 1}}}}
  local:
    backends: {{store: {{driver: memstore}}}}
"""
pytestmark = [
    pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`"),
    pytest.mark.timeout(180 if SOAK else 60),
]


@contextlib.asynccontextmanager
async def proxy_of(folder: Path, settings: str) -> AsyncIterator[tuple[ProxyProcess, grpc.aio.Channel]]:
    """A proxy with the namespaces `cache` on Redis and `local` in memory, and a channel to it."""
    file = folder / "prism.yaml"
    file.write_text(CONFIG.format(settings=settings))
    async with proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel:
        yield process, channel


async def health(process: ProxyProcess, namespace: str = "cache") -> str:
    status, body = await process.get("/ready")
    assert status == 200
    return str(json.loads(body)["namespaces"][namespace]["health"])


async def until(process: ProxyProcess, *wanted: str) -> None:
    async with asyncio.timeout(20):
        while await health(process) not in wanted:
            await asyncio.sleep(0.05)


async def nothing_is_held(process: ProxyProcess) -> None:
    """No call, and no byte of one, is left in the server."""
    async with asyncio.timeout(10):
        while True:
            _, text = await process.get("/metrics")
            gauges = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("prism_server_"))
            if all(float(value) == 0 for name, value in gauges.items() if "connections" not in name):
                return
            await asyncio.sleep(0.05)


async def local_is_served(channel: grpc.aio.Channel) -> None:
    stub = rpc.KeyValueBasicInterfaceStub(channel)
    await stub.Set(pb.SetRequest(key="k", value=b"v"), metadata=(("x-namespace", "local"),), timeout=5)


@pytest.mark.parametrize("harm", ["stopped", "killed"])
async def test_redis_stops_or_dies_and_comes_back(tmp_path: Path, harm: str) -> None:
    async with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server, \
            proxy_of(tmp_path, f"url: '{server.url}'") as (process, channel):
        async with Ledger(channel, "cache") as ledger:
            await ledger.progress()
            before = process.resident_bytes()
            if harm == "stopped":
                server.signal(signal.SIGSTOP)
            else:
                await server.kill()
            await until(process, "unhealthy")
            await asyncio.sleep(STOPPED_S - 3 if harm == "stopped" else FAULTY_S)
            await local_is_served(channel)
            assert process.resident_bytes() - before < GROWTH_BYTES
            if harm == "stopped":
                server.signal(signal.SIGCONT)
            else:
                await server.start()
            await until(process, "healthy")
            await ledger.progress()
        if harm == "killed":  # while it stands still, callers may hear of nothing but their own deadlines
            assert ("UNAVAILABLE", "BACKEND_UNAVAILABLE") in ledger.failures, ledger.failures
        assert ledger.failures
        await nothing_is_held(process)


async def test_a_short_stop_delays_calls_and_fails_none_that_can_wait(tmp_path: Path) -> None:
    async with RedisServer() as server, proxy_of(tmp_path, f"url: '{server.url}'") as (process, channel):
        async with Ledger(channel, "cache", deadline_s=10) as ledger:
            await ledger.progress()
            for _ in range(10 if SOAK else 2):
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(1)
                server.signal(signal.SIGCONT)
                await ledger.progress()
        assert not ledger.failures
        assert await health(process) == "healthy"


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.GARBAGE, Fault.CUT, Fault.SLOW, Fault.REFUSE],
                         ids=lambda fault: fault.name.lower())
async def test_a_broken_network(tmp_path: Path, fault: Fault) -> None:
    async with RedisServer() as server, Shim("127.0.0.1", server.port) as shim, \
            proxy_of(tmp_path, f"url: 'redis://127.0.0.1:{shim.port}'") as (process, channel):
        async with Ledger(channel, "cache") as ledger:
            await ledger.progress()
            shim.fault = fault
            if fault is Fault.REFUSE:
                shim.end_all()
            await asyncio.sleep(max(FAULTY_S, 3.5) if fault is Fault.STALL else FAULTY_S)
            await local_is_served(channel)
            shim.fault = Fault.NONE
            await until(process, "healthy")
            await ledger.progress()
            connections = shim.connections
        assert bool(ledger.failures) is (fault is not Fault.SLOW), ledger.failures
        assert connections < 3 + 3 * 60, "connected again and again, without a pause"
        await nothing_is_held(process)


async def test_sentinels_name_another_primary(tmp_path: Path) -> None:
    """Asynchronous replication may lose the writes of a failover: only their wrong readers are looked for here."""
    async with Replicas() as replicas:
        nodes = ", ".join(f"'{server.address}'" for server in replicas.sentinels)
        settings = f"mode: sentinel, master_name: {Replicas.NAME}, nodes: [{nodes}]"
        async with proxy_of(tmp_path, settings) as (process, channel):
            async with Ledger(channel, "cache") as ledger:
                await ledger.progress()
            async with replicas.primary.client() as client:
                await client.execute_command("WAIT", 1, 2000)
            await replicas.primary.kill()
            async with asyncio.timeout(20):
                while not await ledger.read(0):
                    await asyncio.sleep(0.05)
            async with Ledger(channel, "cache") as after:
                after.accounts[:] = ledger.accounts
                await after.progress()
            await until(process, "healthy")


async def test_a_proxy_starts_while_redis_is_down(tmp_path: Path) -> None:
    server = RedisServer()
    async with proxy_of(tmp_path, f"url: '{server.url}'") as (process, channel):
        await local_is_served(channel)
        assert (await health(process), await health(process, "local")) == ("unhealthy", "healthy")
        checks = health_pb2_grpc.HealthStub(channel)
        serving = {name: (await checks.Check(health_pb2.HealthCheckRequest(service=name))).status
                   for name in ("", "namespace/cache", "namespace/local")}
        assert serving == {"": 1, "namespace/cache": 2, "namespace/local": 1}
        stub = rpc.KeyValueBasicInterfaceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Set(pb.SetRequest(key="k", value=b"v"), metadata=(("x-namespace", "cache"),), timeout=5)
        status = rpc_status.from_call(caught.value)
        info = error_details_pb2.ErrorInfo()
        status.details[0].Unpack(info)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (info.metadata["backend"], info.metadata["outcome"]) == ("redis", "not_executed")
        async with server:
            await until(process, "healthy")
            async with Ledger(channel, "cache") as ledger:
                await ledger.progress()
            async with asyncio.timeout(5):
                request = health_pb2.HealthCheckRequest(service="namespace/cache")
                while (await checks.Check(request)).status != health_pb2.HealthCheckResponse.SERVING:
                    await asyncio.sleep(0.05)
