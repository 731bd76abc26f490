"""A value of Redis that is too large for the namespace: an error of its key, and of nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
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
from prism_proxy.errors import PrismError, StatusCode
from tests.services.proxy import proxy
from tests.services.redis import RedisCluster, RedisServer, binary

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")

MOST = 100_000
TOO_LARGE = b"x" * (20 * MOST)


def told(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


async def test_reading_it_fails_no_other_call(tmp_path: Path) -> None:
    """One caller reads it all the time; those of another namespace on the same connections are answered, all."""
    file = tmp_path / "prism.yaml"
    async with RedisServer() as server:
        store = {"store": {"driver": "redis", "config": {
            "url": server.url, "max_value_bytes": MOST, "connections": 1}}}
        file.write_text(json.dumps({"proxy": {"limits": {"max_message_bytes": MOST}},
                                    "namespaces": {"one": {"backends": store}, "two": {"backends": store}}}))
        async with proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel:
            stub = rpc.KeyValueBasicInterfaceStub(channel)
            async with server.client() as client:
                await client.set("prism:one:large", TOO_LARGE)
                before = {found["id"] for found in await client.client_list() if found["name"] == "prism-proxy"}

            async def call(namespace: str, make: Callable[..., Any], request: Any) -> Any:
                return await make(request, timeout=20, metadata=(("x-namespace", namespace),))

            async def others(namespace: str, count: int) -> None:
                for number in range(count):
                    key, value = f"key{number}", b"%d" % number
                    await call(namespace, stub.Set, pb.SetRequest(key=key, value=value))
                    assert (await call(namespace, stub.Get, pb.GetRequest(key=key))).value == value

            running = asyncio.gather(*(others(namespace, 100) for namespace in ("one", "two") * 2))
            failures = []
            while not running.done():
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call("one", stub.Get, pb.GetRequest(key="large"))
                failures.append(caught.value)
            await running
            assert {failure.code() for failure in failures} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            info = told(failures[0])
            assert (info.reason, info.metadata["size"], info.metadata["max_value_bytes"]) == (
                "VALUE_TOO_LARGE", str(len(TOO_LARGE)), str(MOST))
            assert info.metadata["operation"] == "Get"
            assert "max_value_bytes" in str(failures[0].details())
            async with server.client() as client:
                now = {found["id"] for found in await client.client_list() if found["name"] == "prism-proxy"}
            assert now == before


@pytest.mark.parametrize("form", ["alone", "cluster"])
async def test_every_method_knows_the_bound(form: str) -> None:
    server = RedisServer() if form == "alone" else RedisCluster()
    async with server as running:
        node = running if isinstance(running, RedisServer) else running.nodes[0]
        config = RedisConfig(node.url, max_value_bytes=MOST) if form == "alone" else RedisConfig(
            mode="cluster", nodes=(node.address,), max_value_bytes=MOST)
        driver = RedisDriver(config.within("test"))
        await driver.open()
        try:
            await _all_methods(driver, node, tagged=b"" if form == "alone" else running.tag(0))  # type: ignore[union-attr]
        finally:
            await driver.close()


async def _all_methods(driver: RedisDriver, node: RedisServer, tagged: bytes) -> None:
    large, small = b"{%s}large" % tagged, b"{%s}small" % tagged
    async with node.client() as client:
        await client.set(b"prism:test:" + large, TOO_LARGE)
    await driver.set(small, b"x" * MOST)

    async def refused(call: Any) -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - what matters is what it means
            await call
        error = caught.value if isinstance(caught.value, PrismError) else driver.classify(caught.value)
        assert error is not None
        assert (error.code, error.reason) == (StatusCode.RESOURCE_EXHAUSTED, "VALUE_TOO_LARGE")
        assert error.metadata["size"] == str(len(TOO_LARGE))

    whole, failed, missing, again = await driver.batch_get([small, large, small + b"?", large])
    assert (whole, missing) == (b"x" * MOST, None)
    for item in (failed, again):
        assert isinstance(item, PrismError)
        assert (item.code, item.reason, item.metadata["size"]) == (
            StatusCode.RESOURCE_EXHAUSTED, "VALUE_TOO_LARGE", str(len(TOO_LARGE)))
    for call in (driver.get(large), driver.get_versioned(large),
                 driver.compare_and_swap(large, b"other", b"x") if not tagged else driver.get(large),
                 driver.set(small, TOO_LARGE),
                 driver.compare_and_swap(small, None, TOO_LARGE), driver.commit({}, {small: TOO_LARGE})):
        await refused(call)
    failed, stored = await driver.batch_set([(large, TOO_LARGE), (small, b"new")])
    assert failed is not None
    assert (failed.reason, stored) == ("VALUE_TOO_LARGE", None)
    assert await driver.batch_get([small]) == [b"new"]
    page = await driver.scan(b"", None, 10, values=False)
    assert {key for key, _ in page.items} == {large, small}
    assert await driver.exists(large)
    assert await driver.delete(large)


async def test_many_large_values_together_end_no_connection() -> None:
    """More than one reply may hold: the rest is asked for again."""
    most = 1_000_000
    async with RedisServer() as server, server.client() as client:
        driver = RedisDriver(RedisConfig(server.url, max_value_bytes=most).within("test"))
        await driver.open()
        try:
            small = [(b"a%03d" % number, b"") for number in range(60)]
            await driver.batch_set(small)
            for number in range(60):
                await client.set(f"prism:test:b{number}", b"x" * most)
            before = await client.client_list()
            with pytest.raises(PrismError) as caught:
                await driver.batch_get([key for key, _ in small] + [b"b%d" % number for number in range(60)])
            assert caught.value.reason == "MESSAGE_TOO_LARGE"
            found, cursor = {}, None
            while True:
                page = await driver.scan(b"", cursor, 1000, values=True)
                found.update(page.items)
                cursor = page.cursor
                if cursor is None:
                    break
            assert len(found) == 120
            assert {found["id"] for found in before} == {found["id"] for found in await client.client_list()}
        finally:
            await driver.close()
