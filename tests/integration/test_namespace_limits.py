"""Rate and load limits of namespaces as callers meet them: stock clients, native handlers and servicers alike."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.common import errors_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as kv_rpc
from prism_proxy.namespaces.limits import LoadLimits
from tests.services.proxy import proxy
from tests.support.echo import CHAT, FRESH, HANG, SINK, STALL, UNARY
from tests.support.limited import decoded, echo_server, in_flight, keyvalue_server

pytestmark = pytest.mark.serial

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
LARGE = (*FRESH, ("grpc.max_send_message_length", -1))
NAMESPACES = pytest.mark.parametrize("namespace", ["native", "servicer"])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def connect(port: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=LARGE)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is EXHAUSTED
    return caught.value


# --- requests per second ------------------------------------------------------------------------------------------


@NAMESPACES
async def test_ERR_3_rate_exceeded(namespace: str) -> None:
    """RESOURCE_EXHAUSTED with ErrorInfo, RetryInfo, and a quota violation; what it says to wait is enough."""
    limits = LoadLimits(requests_per_second=1000, burst=5)
    async with keyvalue_server(limits) as served, connect(served.port) as channel:
        stub, metadata = kv_rpc.KeyValueBasicInterfaceStub(channel), (("x-namespace", namespace),)
        calls = [stub.Get(kv.GetRequest(key="k"), metadata=metadata) for _ in range(200)]
        codes = await asyncio.gather(*(call.code() for call in calls))
        assert set(codes) == {grpc.StatusCode.OK, EXHAUSTED}
        error = await refused(next(call for call, code in zip(calls, codes, strict=True) if code is EXHAUSTED))
        before = time.time()
        info, retry, rich = decoded(error)
        assert (info.reason, info.domain) == ("RATE_LIMITED", "prism.proxy.v1")
        assert info.metadata["namespace"] == namespace
        assert (info.metadata["dimension"], info.metadata["limit"]) == ("requests_per_second", "1000")
        assert info.metadata["outcome"] == "not_executed"
        [violation] = [detail.quota_violation for detail in rich.details if detail.HasField("quota_violation")]
        assert (violation.dimension, violation.limit) == ("requests_per_second", 1000)
        assert 1 <= violation.current <= 200
        assert abs(violation.reset_time.ToMilliseconds() / 1000 - before) < 5
        assert (rich.code, rich.namespace) == (errors_pb2.ERROR_CODE_TOO_MANY_REQUESTS, namespace)
        assert rich.retry_policy.retryable
        wait = retry.retry_delay.ToMilliseconds()
        trailers = dict(error.trailing_metadata() or ())
        assert 1 <= wait <= int(trailers["grpc-retry-pushback-ms"]) <= 1000
        assert wait == int(info.metadata["retry_after_ms"])
        await asyncio.sleep(wait / 1000)
        await stub.Get(kv.GetRequest(key="k"), metadata=metadata)
        figures = served.quota(namespace)
        assert figures.refused() == {"requests_per_second": codes.count(EXHAUSTED)}
        assert figures.limiting(10**10) == ["requests_per_second"]


@NAMESPACES
def test_ERR_3_the_admitted_rate_by_ghz(namespace: str, tool: Callable[[str], Path]) -> None:
    """Open loop at three times 1000 requests a second: what is admitted is within 5 % of the limit.

    A generator that gets no processor for a while leaves tokens unused, so it may try again; more is never admitted.
    """
    ghz = tool("ghz")
    seconds = 3.0

    async def run() -> dict[str, Any]:
        async with keyvalue_server(LoadLimits(requests_per_second=1000)) as served:
            process = await asyncio.create_subprocess_exec(
                ghz, "--insecure", "--call", "prism.interfaces.keyvalue.KeyValueBasicInterface/Get",
                "--proto", "proto/prism/interfaces/keyvalue/keyvalue_basic.proto", "--import-paths", "proto",
                "-d", '{"key": "k"}', "-m", json.dumps({"x-namespace": namespace}), "--rps", "3000", "-c", "30",
                "--connections", "3", "-z", f"{seconds}s", "--duration-stop", "wait", "-O", "json",
                f"127.0.0.1:{served.port}", stdout=asyncio.subprocess.PIPE)
            out, _ = await process.communicate()
            return dict(json.loads(out))

    for _ in range(3):
        report = asyncio.run(run())
        assert set(report["statusCodeDistribution"]) == {"OK", "ResourceExhausted"}
        admitted = report["statusCodeDistribution"]["OK"] / (report["total"] / 1e9)
        assert admitted <= 1050
        if admitted >= 950:
            return
    raise AssertionError(f"only {admitted} calls a second were admitted, three times")


async def test_a_stock_retry_policy_waits_as_it_is_told() -> None:
    """More calls at once than the burst admits: every one succeeds, by gRPC's own retries."""
    policy = {"methodConfig": [{"name": [{}], "retryPolicy": {
        "maxAttempts": 5, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]}
    options = (*FRESH, ("grpc.service_config", json.dumps(policy)), ("grpc.enable_retries", 1))
    async with keyvalue_server(LoadLimits(requests_per_second=100, burst=10)) as served, grpc.aio.insecure_channel(
            f"127.0.0.1:{served.port}", options=options) as channel:
        stub = kv_rpc.KeyValueBasicInterfaceStub(channel)
        await asyncio.gather(*(stub.Get(kv.GetRequest(key="k"), metadata=(("x-namespace", "native"),))
                               for _ in range(20)))
        assert served.quota("native").refused()["requests_per_second"] >= 10


async def test_a_namespace_is_limited_alone_and_health_never_is() -> None:
    async with keyvalue_server(LoadLimits(requests_per_second=1, burst=1)) as served, connect(served.port) as channel:
        stub = kv_rpc.KeyValueBasicInterfaceStub(channel)
        await stub.Get(kv.GetRequest(key="k"), metadata=(("x-namespace", "native"),))
        await refused(stub.Get(kv.GetRequest(key="k"), metadata=(("x-namespace", "native"),)))
        await stub.Get(kv.GetRequest(key="k"), metadata=(("x-namespace", "servicer"),))


async def test_the_callers_request_id_comes_back_with_a_refusal() -> None:
    async with echo_server(requests_per_second=0.01, burst=1) as (_, _, port), connect(port) as channel:
        await channel.unary_unary(UNARY)(b"")
        for number in range(3):
            error = await refused(channel.unary_unary(UNARY)(b"", metadata=(("x-request-id", f"id-{number}"),)))
            both = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
            assert [value for key, value in both if key == "x-request-id"] == [f"id-{number}"]


# --- reload -------------------------------------------------------------------------------------------------------


async def test_a_reload_keeps_data_and_buckets_of_unchanged_limits() -> None:
    slow, metadata = LoadLimits(requests_per_second=0.01, burst=2), (("x-namespace", "native"),)
    async with keyvalue_server(slow) as served, connect(served.port) as channel:
        stub = kv_rpc.KeyValueBasicInterfaceStub(channel)
        await stub.Set(kv.SetRequest(key="k", value=b"v"), metadata=metadata)
        served.configure(slow)
        await stub.Get(kv.GetRequest(key="k"), metadata=metadata)
        served.configure(slow)
        await refused(stub.Get(kv.GetRequest(key="k"), metadata=metadata))
        served.configure(LoadLimits(requests_per_second=0.01, burst=2, concurrent_calls=5))
        await refused(stub.Get(kv.GetRequest(key="k"), metadata=metadata))
        served.configure(LoadLimits(concurrent_calls=5))
        assert (await stub.Get(kv.GetRequest(key="k"), metadata=metadata)).value == b"v"


async def test_calls_in_progress_count_for_changed_limits() -> None:
    async with keyvalue_server(LoadLimits(concurrent_calls=8)) as served:
        before = served.quota("native")
        assert before.admit() == 0
        served.configure(LoadLimits(concurrent_calls=1))
        async with connect(served.port) as channel:
            stub = kv_rpc.KeyValueBasicInterfaceStub(channel)
            metadata = (("x-namespace", "native"),)
            await refused(stub.Get(kv.GetRequest(key="k"), metadata=metadata))
            before.release()
            await stub.Get(kv.GetRequest(key="k"), metadata=metadata)


# --- a whole proxy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
async def test_limits_of_the_file_hold_over_workers_and_are_shown(workers: int, tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces: {default: {backends: {store: {driver: memstore}}, "
                    "limits: {requests_per_second: 0.01, burst: 12}}}")
    async with proxy("--config", str(file), "--workers", str(workers)) as process:
        codes = []
        for _ in range(8):  # connections, which the kernel spreads over the workers
            async with connect(process.port) as channel:
                stub = kv_rpc.KeyValueBasicInterfaceStub(channel)
                codes += await asyncio.gather(*(stub.Exists(kv.ExistsRequest(key="k")).code() for _ in range(5)))
        assert codes.count(EXHAUSTED) == 40 - 12
        _, text = await process.get("/metrics")
        assert 'prism_namespace_limited_total{namespace="default",dimension="requests_per_second"} 28' in text
        assert 'prism_namespace_limit_usage{namespace="default",dimension="requests_per_second"} ' in text

        async def ready() -> dict[str, Any]:
            return dict(json.loads((await process.get("/ready"))[1]))

        async with asyncio.timeout(60):
            while (await ready())["namespaces"]["default"].get("limiting") != ["requests_per_second"]:
                await asyncio.sleep(0.1)


async def test_bytes_of_calls_that_one_worker_forwards_to_another(tmp_path: Path) -> None:
    """Both workers refuse alike, whichever of them has the namespace."""
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces: {default: {backends: {store: {driver: memstore}}, limits: {bytes_in_flight: 300000}}}")
    async with proxy("--config", str(file), "--workers", "2") as process:
        for _ in range(8):
            async with connect(process.port) as channel:
                stub = kv_rpc.KeyValueBasicInterfaceStub(channel)
                await stub.Set(kv.SetRequest(key="k", value=bytes(250_000)))
                error = await refused(stub.Set(kv.SetRequest(key="k", value=bytes(350_000))))
                info, _, _ = decoded(error)
                assert (info.reason, info.metadata["outcome"]) == ("TOO_MANY_BYTES", "not_executed")
                assert "claim check" in (error.details() or "")
                assert len((await stub.Get(kv.GetRequest(key="k"))).value) == 250_000


# --- calls at once ------------------------------------------------------------------------------------------------


async def test_calls_at_once_and_the_one_that_takes_a_place_which_comes_free() -> None:
    async with echo_server(concurrent_calls=3) as (echo, quota, port), connect(port) as channel:
        calls = [channel.unary_unary(HANG)(b"") for _ in range(3)]
        await until(lambda: in_flight(quota).get("concurrent_calls") == 3)
        info, retry, rich = decoded(await refused(channel.unary_unary(UNARY)(b"")))
        assert info.reason == "TOO_MANY_CALLS"
        assert (info.metadata["current"], info.metadata["limit"]) == ("3", "3")
        assert retry.retry_delay.ToMilliseconds() == 50
        assert rich.details[0].quota_violation.dimension == "concurrent_calls"
        echo.release.set()
        assert await asyncio.gather(*calls) == [b""] * 3
        assert await channel.unary_unary(UNARY)(b"x") == b"x"


async def test_a_cancelled_call_counts_until_its_servicer_is_done() -> None:
    """Otherwise a caller who cancels could run any number of servicers."""
    async with echo_server(concurrent_calls=1) as (echo, quota, port), connect(port) as channel:
        call = channel.unary_unary(HANG)(b"")
        await until(lambda: in_flight(quota))
        call.cancel()
        await until(lambda: call.done())
        assert decoded(await refused(channel.unary_unary(UNARY)(b"")))[0].reason == "TOO_MANY_CALLS"
        echo.release.set()
        await until(lambda: not in_flight(quota))
        assert await channel.unary_unary(UNARY)(b"x") == b"x"


async def test_a_stream_is_one_call_for_its_life() -> None:
    async with echo_server(concurrent_calls=1) as (_, quota, port), connect(port) as channel:
        chat = channel.stream_stream(CHAT)()
        for _ in range(5):
            await chat.write(b"hello")
            assert await chat.read() == b"hello"
        assert in_flight(quota) == {"concurrent_calls": 1}
        await refused(channel.unary_unary(UNARY)(b""))
        await chat.done_writing()
        assert await chat.read() is grpc.aio.EOF
        await until(lambda: not in_flight(quota))


# --- bytes in flight ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_bytes_of_unary_calls(compression: grpc.Compression) -> None:
    """What counts is what a message is after inflating."""
    async with echo_server(bytes_in_flight=100_000) as (echo, quota, port), connect(port) as channel:
        calls = [channel.unary_unary(HANG)(bytes(40_000), compression=compression) for _ in range(2)]
        await until(lambda: in_flight(quota) == {"bytes_in_flight": 80_000})
        error = await refused(channel.unary_unary(UNARY)(bytes(40_000), compression=compression))
        info, retry, _ = decoded(error)
        assert (info.reason, info.metadata["dimension"]) == ("TOO_MANY_BYTES", "bytes_in_flight")
        assert (info.metadata["outcome"], info.metadata["limit"]) == ("not_executed", "100000")
        assert retry.retry_delay.ToMilliseconds() > 0
        assert await channel.unary_unary(UNARY)(bytes(20_000), compression=compression) == bytes(20_000)
        echo.release.set()
        await asyncio.gather(*calls)
        await until(lambda: not in_flight(quota))
        assert await channel.unary_unary(UNARY)(bytes(100_000), compression=compression) == bytes(100_000)


@pytest.mark.parametrize("size", [100_001, 3_000_000])
@NAMESPACES
async def test_a_message_that_never_fits_is_not_to_be_tried_again(namespace: str, size: int) -> None:
    async with keyvalue_server(LoadLimits(bytes_in_flight=100_000)) as served, connect(served.port) as channel:
        stub, metadata = kv_rpc.KeyValueBasicInterfaceStub(channel), (("x-namespace", namespace),)
        error = await refused(stub.Set(kv.SetRequest(key="k", value=bytes(size)), metadata=metadata))
        assert "claim check" in (error.details() or "")
        assert dict(error.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "-1"
        info, retry, rich = decoded(error)
        assert (info.reason, info.metadata["outcome"]) == ("TOO_MANY_BYTES", "not_executed")
        assert not retry.HasField("retry_delay")
        assert not rich.retry_policy.retryable
        assert not (await stub.Get(kv.GetRequest(key="k"), metadata=metadata)).found
        await stub.Set(kv.SetRequest(key="k", value=bytes(90_000)), metadata=metadata)


async def test_bytes_of_a_stream_count_until_they_are_read() -> None:
    async def messages() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(10_000)

    async with echo_server(bytes_in_flight=200_000) as (_, quota, port), connect(port) as channel:
        assert await channel.stream_unary(SINK)(messages()) == b"1000000"
        await until(lambda: not in_flight(quota))


async def test_a_stream_that_nobody_reads_is_cut_at_the_limit() -> None:
    async with echo_server(bytes_in_flight=100_000) as (_, quota, port), connect(port) as channel:
        call = channel.stream_unary(STALL)()
        await call.write(bytes(60_000))
        await until(lambda: in_flight(quota).get("bytes_in_flight", 0) >= 60_000)
        await call.write(bytes(60_000))
        info, retry, _ = decoded(await refused(call))
        assert (info.reason, info.metadata["outcome"]) == ("TOO_MANY_BYTES", "unknown")
        assert not retry.HasField("retry_delay")
        await until(lambda: not in_flight(quota))
