"""Data of proxies with several workers go over to other proxies, from worker to worker, while clients write."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_grpc
from prism.interfaces.keyvalue import keyvalue_scan_pb2 as scan
from prism.interfaces.keyvalue import keyvalue_scan_pb2_grpc as scan_grpc
from tests.integration.test_migration import BACKENDS, Cluster, Load

pytestmark = pytest.mark.serial


async def contents(address: str, name: str) -> dict[str, bytes]:
    """Every key and value of a namespace, by way of one proxy."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = scan_grpc.KeyValueScanInterfaceStub(channel)
        return {item.key: item.value async for item in stub.Scan(
            scan.ScanRequest(prefix=""), metadata=(("x-namespace", name),))}


async def test_data_of_several_workers_move_under_load_without_a_failed_call(tmp_path: Path) -> None:
    async with Cluster(tmp_path, "open sesame", workers=3) as cluster:
        a, b = cluster.proxies["a"], await cluster.join("b", "--workers", "3")
        async with grpc.aio.insecure_channel(a.address) as channel:
            stub = basic_grpc.KeyValueBasicInterfaceStub(channel)
            for name in BACKENDS:
                for first in range(0, 500, 100):
                    await asyncio.gather(*(stub.Set(
                        basic.SetRequest(key=f"still {number}", value=b"%d" % number * 100),
                        metadata=(("x-namespace", name),)) for number in range(first, first + 100)))
        load = Load()
        async with load.running(a, b):
            await cluster.move("a", "b")
            await asyncio.sleep(0.3)
            await cluster.move("b", "a")
            await asyncio.sleep(0.3)
        assert not load.failures
        assert load.longest_s < 2
        for name in BACKENDS:
            by_a, by_b = await contents(a.address, name), await contents(b.address, name)
            assert by_a == by_b
            assert by_a == {key: value for (of, key), value in load.known.items() if of == name} | {
                f"still {number}": b"%d" % number * 100 for number in range(500)}


async def test_data_move_between_proxies_with_and_without_workers(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        a, b = cluster.proxies["a"], await cluster.join("b", "--workers", "2")
        load = Load()
        async with load.running(b):
            await cluster.move("a", "b")
            await cluster.move("b", "a")
        assert not load.failures
        await load.check(a)
