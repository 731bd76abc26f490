"""A write that was given up never arrives after a newer one of its key, whichever connections they travel over."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import (
    keyvalue_basic_pb2,
    keyvalue_basic_pb2_grpc,
    keyvalue_batch_pb2,
    keyvalue_batch_pb2_grpc,
    keyvalue_cas_pb2,
    keyvalue_cas_pb2_grpc,
)
from prism_proxy._native.redis.resp import ConnectionLost
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from tests.services.proxy import proxy
from tests.services.redis import HOST, RedisServer, binary, free_port
from tests.services.shim import Shim

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")

READ_TIMEOUT_S = 0.6
HELD_S = 3.0
LARGE = 400_000  # bytes, above bulk_bytes
OLD, NEW = b"old-value", b"new-value"

Way = Callable[[grpc.aio.Channel, str, bytes], Awaitable[Any]]


async def small(channel: grpc.aio.Channel, key: str, value: bytes) -> None:
    await keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(channel).Set(
        keyvalue_basic_pb2.SetRequest(key=key, value=value), timeout=20)


async def large(channel: grpc.aio.Channel, key: str, value: bytes) -> None:
    await small(channel, key, value + bytes(LARGE))


async def batch(channel: grpc.aio.Channel, key: str, value: bytes) -> None:
    reply = await keyvalue_batch_pb2_grpc.KeyValueBatchInterfaceStub(channel).BatchSet(
        keyvalue_batch_pb2.BatchSetRequest(requests=[
            keyvalue_basic_pb2.SetRequest(key=key, value=value),
            keyvalue_basic_pb2.SetRequest(key=f"beside {key}", value=value)]), timeout=20)
    assert reply.all_success


async def delete(channel: grpc.aio.Channel, key: str, value: bytes) -> None:
    await keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(channel).Delete(
        keyvalue_basic_pb2.DeleteRequest(key=key), timeout=20)


async def swap(channel: grpc.aio.Channel, key: str, value: bytes) -> None:
    """A script of one key."""
    reply = await keyvalue_cas_pb2_grpc.KeyValueCASInterfaceStub(channel).CompareAndSwap(
        keyvalue_cas_pb2.CompareAndSwapRequest(key=key, expected=b"first", value=value), timeout=20)
    assert reply.swapped


WAYS: dict[str, tuple[Way, Way]] = {
    "small-large": (small, large), "small-batch": (small, batch), "large-small": (large, small),
    "batch-small": (batch, small), "delete-batch": (delete, batch), "delete-large": (delete, large),
    "large-delete": (large, delete), "batch-large": (batch, large), "small-swap": (small, swap),
}


@pytest.mark.parametrize("ways", WAYS)
async def test_no_way_overtakes_another(tmp_path: Path, ways: str) -> None:
    """The older write waits on its way for three seconds, in which its call ends UNAVAILABLE; the newer one is
    acknowledged meanwhile, or after."""
    older, newer = WAYS[ways]
    file = tmp_path / "prism.yaml"
    async with RedisServer() as server, Shim("127.0.0.1", server.port) as shim:
        file.write_text(json.dumps({"namespaces": {"default": {"backends": {"store": {"driver": "redis", "config": {
            "url": f"redis://127.0.0.1:{shim.port}", "read_timeout_s": READ_TIMEOUT_S}}}}}}))
        async with proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel:
            await small(channel, "key", b"first")
            shim.hold_at(OLD if older is not delete else b"DEL")
            with pytest.raises((grpc.aio.AioRpcError, AssertionError)):
                await older(channel, "key", OLD)
            assert shim.holding
            asyncio.get_running_loop().call_later(HELD_S - READ_TIMEOUT_S, shim.release)
            async with asyncio.timeout(20):
                while True:  # until it is acknowledged
                    with contextlib.suppress(grpc.aio.AioRpcError, AssertionError):
                        await newer(channel, "key", NEW)
                        break
            await asyncio.sleep(HELD_S)
            async with server.client() as client:
                found = await client.get("prism:default:key")
    if newer is delete:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(NEW)


@pytest.mark.parametrize(("old", "new"), [(10, LARGE), (LARGE, 10)], ids=["small-large", "large-small"])
async def test_a_call_whose_deadline_passed_is_not_overtaken_either(old: int, new: int) -> None:
    """Its connection is well, and its command on the way."""
    async with RedisServer() as server, Shim("127.0.0.1", server.port) as shim:
        driver = RedisDriver(RedisConfig(f"redis://127.0.0.1:{shim.port}").within("test"))
        await driver.open()
        try:
            await driver.set(b"key", b"first")
            shim.hold_at(OLD)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await driver.set(b"key", OLD + bytes(old))
            newer = asyncio.ensure_future(driver.set(b"key", NEW + bytes(new)))
            await asyncio.sleep(0.3)
            assert not newer.done()
            shim.release()
            await newer
            found = await driver.get(b"key")
            assert found is not None
            assert found.startswith(NEW)
        finally:
            await driver.close()


async def test_a_transaction_waits_for_all_its_keys() -> None:
    """They were written over different connections; others may write meanwhile, and do not keep it from its turn."""
    async with RedisServer() as server:
        driver = RedisDriver(RedisConfig(server.url, connections=4).within("test"))
        await driver.open()
        try:
            over = asyncio.Event()

            async def write(key: bytes) -> None:
                while not over.is_set():
                    await asyncio.gather(*(driver.set(key, b"%d" % number) for number in range(20)))

            keys = [b"key%d" % number for number in range(6)]
            writers = [asyncio.ensure_future(write(key)) for key in keys]
            for _ in range(20):
                async with asyncio.timeout(5):
                    assert await driver.commit({}, dict.fromkeys(keys, b"committed"))
            over.set()
            await asyncio.gather(*writers)
            store = driver.native_store
            assert store is not None
            assert await driver.batch_set([(key, b"last") for key in keys]) == [None] * len(keys)
            assert await driver.batch_get(keys) == [b"last"] * len(keys)
            for key in keys:
                assert store.route([key], 1, False)[3] == ()
        finally:
            await driver.close()


async def test_what_a_lost_connection_leaves_is_forgotten_when_another_is_there() -> None:
    """Else its keys would be tied to one connection for ever."""
    async with RedisServer() as server, Shim("127.0.0.1", server.port) as shim:
        driver = RedisDriver(RedisConfig(f"redis://127.0.0.1:{shim.port}", read_timeout_s=0.3).within("test"))
        await driver.open()
        store = driver.native_store
        assert store is not None
        try:
            for _ in range(3):
                shim.hold()
                failed = await asyncio.gather(*(driver.set(b"%d" % number, b"x") for number in range(50)),
                                              driver.batch_set([(b"1", b"x"), (b"2", b"x")]), return_exceptions=True)
                assert any(isinstance(error, ConnectionLost) and error.sent for error in failed)
                shim.release()
                async with asyncio.timeout(10):
                    while True:
                        with contextlib.suppress(ConnectionLost):
                            await asyncio.gather(*(driver.set(b"%d" % number, b"x" * LARGE) for number in range(50)))
                            break
                        await asyncio.sleep(0.02)
            assert store.pending == 0
            own = {id(store.route([b"%d" % number], 1, False)[0]) for number in range(50)}
            assert own == {id(store.pick(b"%d" % number)[0]) for number in range(50)}
            assert id(store.pick(b"", True)[0]) not in own
        finally:
            await driver.close()


@pytest.mark.parametrize("given_up", ["silence", "deadline"])
async def test_in_a_cluster_a_write_that_was_given_up_is_not_overtaken(given_up: str) -> None:
    """Each command takes any connection to its node: the newer one waits until the node forgot the older one's."""
    port = free_port()
    async with Shim(HOST, port) as shim, RedisServer(
            "--cluster-enabled", "yes", "--cluster-announce-port", str(shim.port), port=port) as server, \
            server.client() as client:
        await client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        async with asyncio.timeout(20):
            while (await client.execute_command("CLUSTER INFO"))["cluster_state"] != "ok":
                await asyncio.sleep(0.05)
        driver = RedisDriver(RedisConfig(
            mode="cluster", nodes=(f"{HOST}:{shim.port}",), read_timeout_s=READ_TIMEOUT_S).within("test"))
        await driver.open()
        try:
            await driver.set(b"key", b"first")
            shim.hold_at(OLD)
            with pytest.raises((ConnectionLost, TimeoutError)):
                async with asyncio.timeout(0.1 if given_up == "deadline" else 20):
                    await driver.set(b"key", OLD)
            assert shim.holding
            await driver.set(b"key", NEW)
            shim.release()
            await asyncio.sleep(0.3)  # time for what must not happen
            assert await driver.get(b"key") == NEW
            assert await driver.batch_set([(b"key", b"last")]) == [None]
        finally:
            await driver.close()
