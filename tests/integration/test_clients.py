"""Clients we did not write, against a real proxy: grpcio sync and asyncio, grpcurl and ghz by reflection; and size."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as batch
from prism.interfaces.keyvalue import keyvalue_batch_pb2_grpc as batch_rpc
from prism.interfaces.keyvalue import keyvalue_scan_pb2 as scan
from prism.interfaces.keyvalue import keyvalue_scan_pb2_grpc as scan_rpc
from tests.services.proxy import ProxyProcess
from tests.services.proxy import proxy as new_proxy

pytestmark = pytest.mark.serial

KIB, MIB = 1024, 1024 * 1024
SERVICE = "prism.interfaces.keyvalue.KeyValueBasicInterface"
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


# --- grpcio -------------------------------------------------------------------------------------------------------


def test_stock_sync_client(proxy: ProxyProcess) -> None:
    with grpc.insecure_channel(proxy.address) as channel:
        keyvalue = rpc.KeyValueBasicInterfaceStub(channel)
        assert keyvalue.Set(pb.SetRequest(key="sync", value=b"\0\xff")).success
        assert keyvalue.Get(pb.GetRequest(key="sync")) == pb.GetResponse(found=True, value=b"\0\xff")
        assert keyvalue.Exists(pb.ExistsRequest(key="sync")).exists
        assert keyvalue.Delete(pb.DeleteRequest(key="sync")).success
        assert keyvalue.Get(pb.GetRequest(key="sync")) == pb.GetResponse(found=False)
        with pytest.raises(grpc.RpcError) as refused:
            keyvalue.Get(pb.GetRequest(key="sync"), metadata=[("x-namespace", "nowhere")])
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        many = [keyvalue.Set.future(pb.SetRequest(key=f"sync/{number}", value=b"v")) for number in range(500)]
        assert all(call.result().success for call in many)
        keys = scan_rpc.KeyValueScanInterfaceStub(channel).ScanKeys(scan.ScanKeysRequest(prefix="sync/"))
        assert [item.key for item in keys] == sorted(f"sync/{number}" for number in range(500))


async def test_stock_asyncio_client(proxy: ProxyProcess) -> None:
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        keyvalue = rpc.KeyValueBasicInterfaceStub(channel)
        await asyncio.gather(*(keyvalue.Set(pb.SetRequest(key=f"aio/{number}", value=b"%d" % number))
                               for number in range(500)))
        found = await asyncio.gather(*(keyvalue.Get(pb.GetRequest(key=f"aio/{number}")) for number in range(500)))
        assert [answer.value for answer in found] == [b"%d" % number for number in range(500)]
        items = scan_rpc.KeyValueScanInterfaceStub(channel).Scan(scan.ScanRequest(prefix="aio/", limit=10))
        assert [item.key async for item in items] == sorted(f"aio/{number}" for number in range(500))[:10]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressing_client(proxy: ProxyProcess, compression: grpc.Compression) -> None:
    async with grpc.aio.insecure_channel(proxy.address, compression=compression) as channel:
        keyvalue = rpc.KeyValueBasicInterfaceStub(channel)
        await keyvalue.Set(pb.SetRequest(key="compressed", value=b"x" * 100 * KIB))
        assert (await keyvalue.Get(pb.GetRequest(key="compressed"))).value == b"x" * 100 * KIB


# --- Go clients -----------------------------------------------------------------------------------------------------


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_grpcurl_lists_describes_and_calls_by_reflection(proxy: ProxyProcess, tool: Callable[[str], Path]) -> None:
    grpcurl = (tool("grpcurl"), "-plaintext")
    services = run(*grpcurl, proxy.address, "list").splitlines()
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(services)
    assert f"{SERVICE}.Get" in run(*grpcurl, proxy.address, "list", SERVICE).splitlines()
    assert "bytes value = 2;" in run(*grpcurl, proxy.address, "describe", ".prism.interfaces.keyvalue.SetRequest")
    stored = run(*grpcurl, "-d", '{"key": "curl", "value": "d29ybGQ="}', proxy.address, f"{SERVICE}/Set")
    assert json.loads(stored) == {"success": True}
    found = run(*grpcurl, "-d", '{"key": "curl"}', proxy.address, f"{SERVICE}/Get")
    assert json.loads(found) == {"found": True, "value": "d29ybGQ="}


def test_ghz_finds_no_failure(proxy: ProxyProcess, tool: Callable[[str], Path]) -> None:
    report = json.loads(run(
        tool("ghz"), "--insecure", "--call", f"{SERVICE}/Set", "-d", '{"key": "ghz", "value": "d29ybGQ="}',
        "-n", 5000, "-c", 50, "--connections", 5, "-O", "json", proxy.address))
    assert report["count"] == 5000
    assert report["statusCodeDistribution"] == {"OK": 5000}


# --- size -----------------------------------------------------------------------------------------------------------


async def test_ten_thousand_calls_in_progress_on_a_hundred_connections() -> None:
    """All are in progress at once by the server's own count before the first is finished."""
    connections, calls_each = 100, 100
    go = asyncio.Event()

    async def request(key: str) -> AsyncIterator[pb.GetRequest]:
        await go.wait()
        yield pb.GetRequest(key=key)

    async with new_proxy() as process, AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(process.address, OWN_CONNECTION))
                    for _ in range(connections)]
        await rpc.KeyValueBasicInterfaceStub(channels[0]).Set(pb.SetRequest(key="k", value=b"v"))
        calls = [
            channel.stream_unary(f"/{SERVICE}/Get", pb.GetRequest.SerializeToString, pb.GetResponse.FromString)(
                request("k"))
            for channel in channels for _ in range(calls_each)]
        answers = asyncio.gather(*calls)
        async with asyncio.timeout(40):
            while f"prism_server_streams {len(calls)}\n" not in (page := (await process.get("/metrics"))[1]):
                await asyncio.sleep(0.1)
        assert f"prism_server_connections {connections}\n" in page
        go.set()
        assert all(answer.value == b"v" for answer in await answers)
        assert "prism_server_streams 0\n" in (await process.get("/metrics"))[1]


async def test_values_of_10_mib_pass_and_beyond_the_limit_are_refused_by_name(proxy: ProxyProcess) -> None:
    async with grpc.aio.insecure_channel(proxy.address, LARGE) as channel:
        keyvalue = rpc.KeyValueBasicInterfaceStub(channel)
        value = bytes(range(256)) * (10 * MIB // 256)
        await keyvalue.Set(pb.SetRequest(key="large", value=value))
        answers = await asyncio.gather(*(keyvalue.Get(pb.GetRequest(key="large")) for _ in range(4)))
        assert all(answer.value == value for answer in answers)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await keyvalue.Set(pb.SetRequest(key="large", value=bytes(17 * MIB)))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_message_bytes" in str(refused.value.details())
        await keyvalue.Delete(pb.DeleteRequest(key="large"))


async def test_a_slow_reader_of_a_long_scan_costs_no_memory() -> None:
    """100,000 keys, 50 MB of values: each comes once and in order, while the server's memory stays flat."""
    keys, value = [f"scan/{number:06}" for number in range(100_000)], bytes(500)
    async with new_proxy() as process, grpc.aio.insecure_channel(process.address) as channel:
        writer = batch_rpc.KeyValueBatchInterfaceStub(channel)
        for start in range(0, len(keys), 5000):
            requests = [pb.SetRequest(key=key, value=value) for key in keys[start:start + 5000]]
            assert (await writer.BatchSet(batch.BatchSetRequest(requests=requests))).all_success
        before = process.resident_bytes()
        seen, highest = 0, before
        async for item in scan_rpc.KeyValueScanInterfaceStub(channel).Scan(scan.ScanRequest(prefix="scan/")):
            assert item.key == keys[seen]
            seen += 1
            if seen % 2000 == 1:
                await asyncio.sleep(0.05)  # the reader's slowness: the server fills what windows there are meanwhile
                highest = max(highest, process.resident_bytes())
        assert seen == len(keys)
        assert highest - before < 12 * MIB, f"grew by {(highest - before) / MIB:.1f} MiB"
