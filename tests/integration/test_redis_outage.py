"""A real proxy over a Redis that dies and comes back: short outages delay calls, long ones are refused fast."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client.parser import text_string_to_metric_families

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from tests.services import redis as service
from tests.services.proxy import ProxyProcess, proxy

pytestmark = [
    pytest.mark.serial, pytest.mark.skipif(service.binary() is None, reason="redis-server is not to be had")]

WAIT_S = 3.0
CALLERS = 8


def configured(folder: Path, server: service.RedisServer, **resilience: Any) -> ProxyProcess:
    file = folder / "prism.yaml"
    file.write_text(json.dumps({"namespaces": {"default": {
        "backends": {"store": {"driver": "redis", "config": {"url": server.url}}}, "resilience": resilience}}}))
    return proxy("--config", str(file))


def told(error: grpc.aio.AioRpcError) -> tuple[str, str, bool]:
    """(reason, outcome, whether there is RetryInfo)"""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, info.metadata["outcome"], any(
        detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


async def counter(process: ProxyProcess, name: str) -> float:
    _, text = await process.get("/metrics")
    return sum(sample.value for family in text_string_to_metric_families(text)
               for sample in family.samples if sample.name == name)


async def circuit(process: ProxyProcess) -> tuple[int, str]:
    """(status of /ready, the circuit in its body)"""
    status, body = await process.get("/ready")
    return status, json.loads(body)["namespaces"]["default"]["circuit"]


async def test_buf1_an_outage_of_a_second_fails_no_read_and_no_write_but_those_in_doubt(tmp_path: Path) -> None:
    failures: list[tuple[str, tuple[str, str, bool]]] = []
    answered = 0
    async with service.RedisServer() as server, configured(tmp_path, server, reconnect={"wait_s": WAIT_S}) as process:
        async with grpc.aio.insecure_channel(process.address) as channel:
            stub, over = rpc.KeyValueBasicInterfaceStub(channel), asyncio.Event()

            async def caller(number: int) -> None:
                nonlocal answered
                while not over.is_set():
                    try:
                        if number % 2:
                            await stub.Get(pb.GetRequest(key=f"k{number}"), timeout=20)
                        else:
                            await stub.Set(pb.SetRequest(key=f"k{number}", value=b"v"), timeout=20)
                        answered += 1
                    except grpc.aio.AioRpcError as error:
                        failures.append(("Get" if number % 2 else "Set", told(error)))
                    await asyncio.sleep(0.002)

            callers = [asyncio.ensure_future(caller(number)) for number in range(CALLERS)]
            await asyncio.sleep(0.4)
            await server.kill()
            await asyncio.sleep(1.0)
            await server.start()
            before = answered
            async with asyncio.timeout(10):
                while answered < before + 20 * CALLERS:
                    await asyncio.sleep(0.02)
            over.set()
            await asyncio.gather(*callers)
        assert await circuit(process) == (200, "closed")
    assert {what for what, _ in failures} <= {"Set"}, failures
    assert {how for _, how in failures} <= {("BACKEND_UNAVAILABLE", "unknown", False)}
    assert len(failures) <= CALLERS / 2, "more than the writes that were on their way"


async def test_buf2_a_long_outage_is_refused_at_once_and_its_end_is_noticed_at_once(tmp_path: Path) -> None:
    async with service.RedisServer() as server, configured(tmp_path, server, reconnect={"wait_s": 0.2}) as process:
        async with grpc.aio.insecure_channel(process.address) as channel:
            stub = rpc.KeyValueBasicInterfaceStub(channel)
            await stub.Set(pb.SetRequest(key="k", value=b"v"), timeout=20)
            killed = time.monotonic()
            await server.kill()
            seen = set()
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Get(pb.GetRequest(key="k"), timeout=20)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                seen.add(told(caught.value))
            opened_by = time.monotonic()
            assert seen <= {("BACKEND_UNAVAILABLE", "not_executed", True), ("CIRCUIT_OPEN", "not_executed", True)}
            assert ("CIRCUIT_OPEN", "not_executed", True) in seen
            began = time.monotonic()
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.Get(pb.GetRequest(key="k"), timeout=20)
            assert time.monotonic() - began < 2
            assert await circuit(process) == (200, "open"), "readiness is not a matter of the backend"
            least = {"Redis is back": time.monotonic() - killed, "circuit closed": time.monotonic() - opened_by}
            await server.start()
            began = time.monotonic()
            async with asyncio.timeout(15):
                while True:
                    try:
                        await stub.Get(pb.GetRequest(key="k"), timeout=20)
                        break
                    except grpc.aio.AioRpcError:
                        await asyncio.sleep(0.05)
            assert time.monotonic() - began < 10, "the circuit sat out its 30 s"
        assert await circuit(process) == (200, "closed")
        assert await counter(process, "prism_circuit_opened_total") >= 1
        await process.stop()
    lines = [line for line in process.lines if line["logger"] in ("prism.redis", "prism.slots")]
    assert [line["event"] for line in lines if line["logger"] == "prism.redis"] == [
        "no connection to Redis", "Redis is back"]
    assert [line["event"] for line in lines if line["logger"] == "prism.slots"] == ["circuit opened", "circuit closed"]
    for line in lines:
        if line["event"] in least:
            assert least[line["event"]] * 0.5 < line["seconds"] < time.monotonic() - killed
    (opened,) = [line for line in lines if line["event"] == "circuit opened"]
    assert (opened["namespace"], opened["backend"], opened["reason"]) == ("default", "redis", "BACKEND_UNAVAILABLE")


async def test_connections_count_as_active_while_commands_wait_for_their_replies(tmp_path: Path) -> None:
    async with (service.RedisServer() as server, configured(tmp_path, server) as process,
                grpc.aio.insecure_channel(process.address) as channel):
        stub = rpc.KeyValueBasicInterfaceStub(channel)
        await stub.Set(pb.SetRequest(key="k", value=b"v"))
        assert await counter(process, "backend_driver_connections_active") == 0
        server.signal(signal.SIGSTOP)
        waiting = stub.Get(pb.GetRequest(key="k"), timeout=20)
        async with asyncio.timeout(2.5):  # the connection is given up after 3 s
            while not await counter(process, "backend_driver_connections_active"):
                await asyncio.sleep(0.02)
        server.signal(signal.SIGCONT)
        await waiting
        async with asyncio.timeout(20):
            while await counter(process, "backend_driver_connections_active"):
                await asyncio.sleep(0.02)
