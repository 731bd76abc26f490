"""Calls of a namespace that is paused wait, and are served by its next owner: none fails, none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_grpc
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as batch
from prism.interfaces.keyvalue import keyvalue_batch_pb2_grpc as batch_grpc
from prism.interfaces.keyvalue import keyvalue_scan_pb2 as scan
from prism.interfaces.keyvalue import keyvalue_scan_pb2_grpc as scan_grpc
from prism_proxy._native.grpc.routing import NativeRoute
from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.forwarding.peer import Peer
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.call_drain import CallDrain
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.server.registration import NativeHandlers
from prism_proxy.server.server import Server
from prism_proxy.standard import make_driver
from prism_runtime.address import Address

NAME = "default"
CONFIG = NamespaceConfig.of_store(NAME, "memstore", MemstoreConfig())


class Proxy:
    """A server over namespaces, of which `elsewhere` serves those it does not know."""

    def __init__(self) -> None:
        self.namespaces = Namespaces()
        self.activator = Activator(self.namespaces, make_driver)
        self.server = Server(namespaced=namespaced)
        self.elsewhere: list[NativeRoute | None] = [None] * 256
        NativeHandlers(self.server).add(["memstore"])
        add_interfaces(self.server, self.namespaces.resolve)
        self.namespaces.on_swap(lambda current: self.server.set_routes(
            current.table(by_partition=self.elsewhere, paused=self.namespaces.paused)))

    async def hold(self) -> CallDrain:
        self.namespaces.set_overrides((), {NAME})
        return await self.activator.rotate_route(NAME)

    def store(self) -> Any:
        return self.namespaces.current.routes[NAME].drivers[0].native_store


@pytest.fixture
async def two() -> AsyncIterator[tuple[Proxy, Proxy, grpc.aio.Channel]]:
    """One that serves the namespace, another that could, and a channel to the first."""
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        first, second = Proxy(), Proxy()
        path = str(Path(folder) / "second")
        second.server.bind(Address("", 0, path), None, trusted=True)
        port = first.server.add_insecure_port("127.0.0.1:0")
        for proxy in (first, second):
            await proxy.server.start()
            stack.push_async_callback(proxy.server.stop, 0)
        await first.activator.apply([CONFIG])
        peer = Peer(f"unix:{path}", name="second")
        stack.push_async_callback(peer.close)
        first.elsewhere[partition_of(NAME)] = NativeRoute(None, "", None, peer.handler, "second")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield first, second, channel
        for proxy in (first, second):
            await proxy.activator.apply([])
            await proxy.activator.close()


def calls(channel: grpc.aio.Channel) -> list[asyncio.Future[Any]]:
    """Unary and streaming, native and not, short and long ones."""
    stub, many = basic_grpc.KeyValueBasicInterfaceStub(channel), batch_grpc.KeyValueBatchInterfaceStub(channel)

    async def scanned() -> list[str]:
        found = scan_grpc.KeyValueScanInterfaceStub(channel).Scan(scan.ScanRequest(prefix="known"), timeout=10)
        return [item.key async for item in found]

    return [asyncio.ensure_future(found) for found in (
        stub.Set(basic.SetRequest(key="short", value=b"1"), timeout=10),
        stub.Set(basic.SetRequest(key="long", value=b"x" * 300_000), timeout=10),
        stub.Get(basic.GetRequest(key="known"), timeout=10),
        many.BatchSet(batch.BatchSetRequest(requests=[basic.SetRequest(key="batch", value=b"2")]), timeout=10),
        scanned())]


async def until_waiting(proxy: Proxy, count: int) -> None:
    while proxy.namespaces.paused[NAME].waiting < count or proxy.namespaces.paused[NAME].handler.waiting_bytes < 30_000:
        await asyncio.sleep(0.005)


async def test_calls_wait_and_then_go_on_here(two: tuple[Proxy, Proxy, grpc.aio.Channel]) -> None:
    first, _, channel = two
    first.store().set(b"known", b"value")
    drain = await first.hold()
    assert await drain.wait(1)
    waiting = calls(channel)
    await until_waiting(first, len(waiting))
    assert first.store().get(b"short") is None
    first.namespaces.set_overrides((), ())
    results = await asyncio.gather(*waiting)
    assert results[2].value == b"value"
    assert results[4] == ["known"]
    assert first.store().get(b"long") == b"x" * 300_000
    assert first.store().get(b"batch") == b"2"


async def test_calls_wait_and_then_go_to_the_new_owner(two: tuple[Proxy, Proxy, grpc.aio.Channel]) -> None:
    first, second, channel = two
    first.store().set(b"known", b"old")
    await first.hold()
    old = first.store()
    waiting = calls(channel)
    await until_waiting(first, len(waiting))
    await second.activator.apply([CONFIG])
    second.store().set(b"known", b"moved")
    await first.activator.apply([])
    first.namespaces.set_overrides((), ())
    results = await asyncio.gather(*waiting)
    assert results[2].value == b"moved"
    assert second.store().get(b"long") == b"x" * 300_000
    assert second.store().get(b"short") == b"1"
    assert old.get(b"short") is None


async def test_calls_that_wait_too_long_are_told_so(two: tuple[Proxy, Proxy, grpc.aio.Channel]) -> None:
    first, _, channel = two
    await first.hold()
    stub = basic_grpc.KeyValueBasicInterfaceStub(channel)
    got = await asyncio.gather(stub.Get(basic.GetRequest(key="k"), timeout=0.3), stub.Get(basic.GetRequest(key="k")),
                               return_exceptions=True)
    assert [error.code() for error in got if isinstance(error, grpc.aio.AioRpcError)] == [
        grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE]
    assert isinstance(got[1], grpc.aio.AioRpcError)
    assert "moving" in (got[1].details() or "")
    assert "grpc-retry-pushback-ms" in dict(got[1].trailing_metadata() or ())
    first.namespaces.set_overrides((), ())
    await stub.Get(basic.GetRequest(key="k"))


async def test_a_sealed_store_refuses_writes_and_answers_reads(two: tuple[Proxy, Proxy, grpc.aio.Channel]) -> None:
    first, _, channel = two
    first.store().set(b"known", b"value")
    outgoing = await first.namespaces.current.routes[NAME].drivers[0].outgoing()  # type: ignore[attr-defined]
    await outgoing.seal()
    stub = basic_grpc.KeyValueBasicInterfaceStub(channel)
    for write in (stub.Set(basic.SetRequest(key="known", value=b"1")), stub.Delete(basic.DeleteRequest(key="known"))):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await write
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await stub.Get(basic.GetRequest(key="known"))).value == b"value"
    await outgoing.end()
    await stub.Set(basic.SetRequest(key="known", value=b"1"))
