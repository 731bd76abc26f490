"""The native path on real servers: over a Unix socket, and over RESP2 where the server knows no HELLO; and on servers
that answer what no Redis does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import build
from prism_proxy.slots.concurrency_limiter import ConcurrencyLimiter
from prism_proxy.testing.contracts.serving import Way, serve
from tests.services import redis as service
from tests.services.proxy import proxy
from tests.services.shim import Fault, Shim
from tests.support.redis_stand_in import RedisStandIn

real = pytest.mark.skipif(service.binary() is None, reason="redis-server is not to be had")

CALLS = 200


@contextlib.asynccontextmanager
async def native(url: str) -> AsyncIterator[tuple[rpc.KeyValueBasicInterfaceStub, ConcurrencyLimiter]]:
    """A server of our own over one Redis, in this process, and the limiter that calls take there."""
    driver = RedisDriver(RedisConfig(url, connections=1).within("default"))
    snapshot = build(1, [NamespaceConfig.of_store("default", "redis", None)], lambda *_: driver)
    limiter = snapshot.routes["default"].slots["store"].limiter
    assert limiter is not None
    await driver.open()
    try:
        async with serve(Way.NATIVE, snapshot) as channel:
            yield rpc.KeyValueBasicInterfaceStub(channel), limiter
    finally:
        await driver.close()


@real
@pytest.mark.parametrize("way", ["unix", "resp2"])
async def test_every_call_gets_its_own_reply(tmp_path: Path, way: str) -> None:
    file, path = tmp_path / "prism.yaml", tmp_path / "redis.sock"
    options = ("--unixsocket", str(path)) if way == "unix" else ("--rename-command", "HELLO", "")
    async with service.RedisServer(*options) as server:
        config: dict[str, Any] = {"url": f"unix://{path}" if way == "unix" else server.url}
        file.write_text(json.dumps({"namespaces": {"default": {
            "backends": {"store": {"driver": "redis", "config": config}}}}}))
        async with (proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel,
                    server.client(protocol=2) as direct):
            stub = rpc.KeyValueBasicInterfaceStub(channel)
            values = {f"k{number}": b"v%d" % number * (number % 50) for number in range(CALLS)}
            await asyncio.gather(*(stub.Set(pb.SetRequest(key=key, value=value), timeout=20)
                                   for key, value in values.items()))
            found = await asyncio.gather(*(stub.Get(pb.GetRequest(key=key), timeout=20) for key in values))
            assert [reply.value for reply in found] == list(values.values())
            assert {client["name"] for client in await direct.client_list()} >= {"prism-proxy"}

            stored = [key async for key in direct.scan_iter("*:k1")]
            assert len(stored) == 1
            await direct.expire(stored[0], 1000)
            await stub.Set(pb.SetRequest(key="k1", value=b"new"), timeout=20)
            assert await direct.ttl(stored[0]) == -1, "a plain Set lets a key live for ever"


READS = {"Get": pb.GetRequest(key="a"), "Exists": pb.ExistsRequest(key="a")}
WRITES = {"Set": pb.SetRequest(key="a", value=b"1"), "Delete": pb.DeleteRequest(key="a")}
RIGHT = {b"GET": b"$1\r\n1\r\n", b"EXISTS": b":1\r\n", b"SET": b"+OK\r\n", b"DEL": b":1\r\n"}
VERBS = {"Get": b"GET", "Exists": b"EXISTS", "Set": b"SET", "Delete": b"DEL"}
WRONG = {"Get": [b":5\r\n", b"*1\r\n$1\r\n5\r\n", b"%1\r\n+a\r\n+b\r\n", b"+OK\r\n"],
         "Exists": [b"$1\r\n1\r\n", b"_\r\n"], "Set": [b"_\r\n", b":1\r\n", b"+QUEUED\r\n"],
         "Delete": [b"$1\r\n1\r\n", b"+OK\r\n"]}


@pytest.mark.parametrize(("method", "wrong"), [(method, reply) for method in WRONG for reply in WRONG[method]])
async def test_a_reply_of_the_wrong_kind_reaches_nobody(method: str, wrong: bytes) -> None:
    """Nor do those that come with it: reads are made again, and of a write it is unknown what became of it."""
    lies = [wrong]

    def answer(command: list[bytes]) -> bytes:
        if lies and command[0] == VERBS[method]:
            return lies.pop() + b"$5\r\nother\r\n"
        return RIGHT[command[0]]

    async with RedisStandIn(answer) as server, native(server.url) as (stub, _):
        before = server.connections
        call = getattr(stub, method)
        if method in READS:
            asked = READS[method]
            replies = await asyncio.gather(call(asked, timeout=20), stub.Get(pb.GetRequest(key="b"), timeout=20))
            assert [reply.SerializeToString() for reply in replies] == [
                (pb.GetResponse(found=True, value=b"1") if method == "Get" else pb.ExistsResponse(exists=True))
                .SerializeToString(), pb.GetResponse(found=True, value=b"1").SerializeToString()]
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(WRITES[method], timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert (await call(WRITES[method], timeout=20)).success
        assert server.connections == before + 1


@real
async def test_a_length_that_is_garbage_is_not_waited_for() -> None:
    async with (service.RedisServer() as server, Shim("127.0.0.1", server.port) as shim,
                native(f"redis://127.0.0.1:{shim.port}") as (stub, _)):
        await stub.Set(pb.SetRequest(key="a", value=b"1"), timeout=20)
        before, shim.fault = shim.connections, Fault.LENGTH
        found = asyncio.ensure_future(stub.Get(pb.GetRequest(key="a"), timeout=20))
        async with asyncio.timeout(2):  # the read timeout is 3 s
            while shim.connections == before:
                await asyncio.sleep(0.005)
        shim.fault = Fault.NONE
        assert (await found).value == b"1"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("end", ["answered", "refused", "cancelled", "late", "lost", "garbage", "wrong"])
async def test_a_place_at_the_backend_is_given_back_however_a_call_ends(end: str) -> None:
    """As many calls as may be are at the backend, and more wait in line."""
    async with RedisStandIn(lambda command: RIGHT[command[0]]) as server, native(server.url) as (stub, limiter):
        limit, server.holding = limiter.limit.current, True
        calls = [stub.Get(pb.GetRequest(key="a"), timeout=0.3 if end == "late" else 20) for _ in range(2 * limit)]
        ended = asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: (limiter.in_flight, server.held, limiter.queued) == (limit, limit, limit))
        if end in ("cancelled", "late"):
            for call in calls if end == "cancelled" else ():
                call.cancel()
            assert {type(found) for found in await ended} == {
                asyncio.CancelledError if end == "cancelled" else grpc.aio.AioRpcError}
            await until(lambda: limiter.queued == 0)
            assert limiter.in_flight == limit, "the backend is busy with them yet"
        server.release({"refused": b"-BUSY a script runs\r\n", "lost": b"", "garbage": b"?!\r\n",
                        "wrong": b":1\r\n"}.get(end))
        if end not in ("cancelled", "late"):
            assert [found.value for found in await ended] == [b"1"] * len(calls)
        await until(lambda: (limiter.in_flight, limiter.queued, limiter.clock.busy) == (0, 0, 0))
        assert (await stub.Get(pb.GetRequest(key="a"), timeout=20)).value == b"1"
        assert (limiter.in_flight, limiter.shed) == (0, 0)


async def test_a_call_that_gets_no_turn_is_told_as_by_the_servicer() -> None:
    """In line behind others it waits no longer than a second, and is not executed."""
    async with RedisStandIn(lambda command: RIGHT[command[0]]) as server, native(server.url) as (stub, limiter):
        server.holding = True
        calls = [stub.Get(pb.GetRequest(key="a"), timeout=20) for _ in range(limiter.limit.current + 1)]
        await until(lambda: limiter.shed == 1)
        server.release()
        found = [error for error in await asyncio.gather(*calls, return_exceptions=True)
                 if isinstance(error, grpc.aio.AioRpcError)]
        assert [error.code() for error in found] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        status = rpc_status.from_call(found[0])  # type: ignore[arg-type]
        assert status is not None
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert info.reason == "LOAD_SHED"
        assert dict(info.metadata) == {"namespace": "default", "backend": "redis", "slot": "store", "operation": "Get",
                                       "phase": "admit", "attempt": "1", "outcome": "not_executed"}
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
