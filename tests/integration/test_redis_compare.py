"""Conditional writes over Redis: the native handlers, the servicer under our server, and it under grpc.aio's."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_cas_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_cas_pb2_grpc as rpc
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, build
from prism_proxy.server.registration import NativeHandlers
from prism_proxy.server.server import Server
from tests.services.redis import RedisServer, binary, running

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")

KEYS = ("k1", "k2", "ключ", "", "k" * 65_537)
VALUES = (None, b"", b"a", b"1", b"x" * 5000, b"y" * 300_000)  # the last one is above bulk_bytes
MOST = 400_000


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running(RedisServer()) as server:
        yield server


@contextlib.asynccontextmanager
async def served(redis: RedisServer, prefix: str, server: Any, *, native: bool = False) -> AsyncIterator[RedisDriver]:
    """`default` over a namespace of its own at Redis."""
    driver = RedisDriver(RedisConfig(url=redis.url, prefix=prefix, max_value_bytes=MOST))
    namespaces = Namespaces()
    namespaces.swap(build(1, [NamespaceConfig.of_store(DEFAULT, "redis", None)], lambda backend, settings: driver))
    add_interfaces(server, namespaces.resolve)
    if isinstance(server, Server):
        namespaces.on_swap(lambda current: server.set_routes(current.table()))
        NativeHandlers(server).add(["redis"] if native else [])
    await driver.open()
    await server.start()
    try:
        yield driver
    finally:
        await server.stop(0)
        await driver.close()


@contextlib.asynccontextmanager
async def three(redis: RedisServer, name: str) -> AsyncIterator[list[tuple[rpc.KeyValueCASInterfaceStub, RedisDriver]]]:
    """grpc.aio, our server without native handlers, and with them."""
    servers = [grpc.aio.server(), Server(namespaced=namespaced), Server(namespaced=namespaced)]
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for number, server in enumerate(servers):
            port = server.add_insecure_port("127.0.0.1:0")
            driver = await stack.enter_async_context(served(redis, f"{name}{number}.", server, native=number == 2))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            found.append((rpc.KeyValueCASInterfaceStub(channel), driver))
        yield found


def asked(rng: random.Random) -> tuple[str, Any]:
    """Few values, so that both outcomes are met."""
    key, expected, value = rng.choice(KEYS[:3] * 8 + KEYS), rng.choice(VALUES), rng.choice(VALUES) or b""
    if rng.random() < 0.2:
        return "CompareAndDelete", pb.CompareAndDeleteRequest(key=key, expected=expected or b"")
    return "CompareAndSwap", pb.CompareAndSwapRequest(key=key, expected=expected, value=value)


async def outcome(stub: rpc.KeyValueCASInterfaceStub, method: str, request: Any) -> Any:
    try:
        return await getattr(stub, method)(request, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()


async def test_native_comparisons_agree_with_the_servicer_s_and_grpc_aio_s(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, swapped, found, in_python = random.Random(7), 0, 0, []
    async with three(redis, "agree") as (reference, servicer, native):
        for driver, compare in ((driver, driver.compare_and_swap) for _, driver in (reference, servicer, native)):
            async def counted(*arguments: Any, driver: Any = driver, compare: Any = compare) -> Any:
                in_python.append(driver)
                return await compare(*arguments)

            monkeypatch.setattr(driver, "compare_and_swap", counted)
        for _ in range(300):
            method, request = asked(rng)
            expected = await outcome(reference[0], method, request)
            for stub, _ in (servicer, native):
                assert await outcome(stub, method, request) == expected, str(request)[:99]
            if method == "CompareAndSwap" and not isinstance(expected, tuple):
                swapped += expected.swapped
                found += expected.HasField("actual")
    assert min(swapped, found) > 20, "both outcomes were met"
    assert in_python.count(native[1]) == 0 < in_python.count(servicer[1])


async def test_a_script_that_the_server_forgot_is_sent_again(redis: RedisServer) -> None:
    async with three(redis, "forgot") as (_, _, (stub, driver)):
        for value in (b"1", b"2"):
            await driver._commands.execute(b"SCRIPT", b"FLUSH", key=b"")
            request = pb.CompareAndSwapRequest(key="k", expected=None if value == b"1" else b"1", value=value)
            assert (await stub.CompareAndSwap(request)).swapped
        await driver._commands.execute(b"SCRIPT", b"FLUSH", key=b"")
        assert (await stub.CompareAndDelete(pb.CompareAndDeleteRequest(key="k", expected=b"2"))).deleted


async def test_what_cannot_be_compared_is_refused_alike(redis: RedisServer) -> None:
    """A value of another type, one that is larger than may be read, and one that may not be written."""
    async with three(redis, "refused") as peers:
        seen = []
        for stub, driver in peers:
            prefix = driver._prefix
            await driver._commands.execute(b"RPUSH", prefix + b"list", b"a", key=b"list")
            await driver._commands.execute(b"SET", prefix + b"huge", bytes(MOST + 1), key=b"huge")
            requests = [pb.CompareAndSwapRequest(key="list", expected=b"a", value=b"b"),
                        pb.CompareAndSwapRequest(key="huge", expected=b"a", value=b"b"),
                        pb.CompareAndSwapRequest(key="k", value=bytes(MOST + 1))]
            seen.append([await outcome(stub, "CompareAndSwap", request) for request in requests])
        assert seen[0] == seen[1] == seen[2]
        assert [code for code, _ in seen[0]] == [
            grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.RESOURCE_EXHAUSTED]
