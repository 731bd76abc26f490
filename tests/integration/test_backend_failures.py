"""What stock clients see while a shared backend fails, decoded with grpcio-status, on grpc.aio and our server alike."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.common import errors_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_rpc
from prism.interfaces.keyvalue import keyvalue_scan_pb2 as scan
from prism.interfaces.keyvalue import keyvalue_scan_pb2_grpc as scan_rpc
from prism_proxy._native.grpc.metrics import Histogram
from prism_proxy._native.grpc.replies import QueuedTotal
from prism_proxy.contracts.driver import Health
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, Snapshot, build
from prism_proxy.server.server import Server
from prism_proxy.slots.options import CircuitOptions, ReconnectOptions, RetryOptions, SlotOptions
from prism_proxy.status import ProcessStatus
from prism_proxy.telemetry.loop_monitor import LoopMonitor
from prism_proxy.testing.contracts.serving import Way, serve
from prism_runtime.lifecycle import Lifecycle, State
from tests.support.in_process import served
from tests.support.scripted_driver import FullError, LostError, RefusedError, ScriptedDriver

QUICK = RetryOptions(backoff_first_s=0.001, backoff_max_s=0.5)
NAMESPACE = (("x-namespace", "orders"),)


def snapshot(driver: ScriptedDriver, **options: Any) -> Snapshot:
    resilience = SlotOptions(retries=QUICK, **options)
    return build(1, [NamespaceConfig.of_store("orders", "scripted", None, resilience=resilience)], lambda *_: driver)


class Client:
    """A stock client of one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._basic = basic_rpc.KeyValueBasicInterfaceStub(channel)
        self._scan = scan_rpc.KeyValueScanInterfaceStub(channel)

    async def get(self, within_s: float = 5) -> bytes:
        reply = await self._basic.Get(basic.GetRequest(key="k"), metadata=NAMESPACE, timeout=within_s)
        return bytes(reply.value)

    async def set(self, within_s: float = 5) -> None:
        await self._basic.Set(basic.SetRequest(key="k", value=b"v"), metadata=NAMESPACE, timeout=within_s)

    def scan(self) -> AsyncIterator[Any]:
        found: AsyncIterator[Any] = self._scan.Scan(scan.ScanRequest(), metadata=NAMESPACE, timeout=5)
        return found


class Told:
    """An error as a client decodes it."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.pushback = dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms")
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        assert status is not None
        info, rich, retry = error_details_pb2.ErrorInfo(), errors_pb2.Error(), error_details_pb2.RetryInfo()
        self.retry_s: float | None = None
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(rich)
            if detail.Unpack(retry):
                self.retry_s = retry.retry_delay.ToNanoseconds() / 1e9
        self.reason, self.metadata, self.rich = info.reason, dict(info.metadata), rich


async def told(call: Any) -> Told:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return Told(caught.value)


@pytest.fixture(params=[Way.REFERENCE, Way.SERVER], ids=lambda way: way.value)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param  # type: ignore[no-any-return]


async def test_err5_a_backend_that_is_down_and_for_how_long_to_leave_it(way: Way) -> None:
    driver = ScriptedDriver(always=RefusedError())
    async with serve(way, snapshot(driver)) as channel:
        error = await told(Client(channel).set())
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    assert error.metadata == {
        "namespace": "orders", "backend": "scripted", "slot": "store", "operation": "Set", "phase": "connect",
        "attempt": "3", "outcome": "not_executed"}
    assert (error.retry_s, error.pushback) == (0.5, "500")
    assert driver.calls == ["set"] * 3
    assert error.rich.code == errors_pb2.ERROR_CODE_BACKEND_ERROR
    assert (error.rich.source, [(cause.source, cause.message) for cause in error.rich.causes]) == (
        "prism-proxy", [("scripted", "RefusedError")])
    assert error.rich.retry_policy.retryable


async def test_a_write_that_may_have_happened_is_told_apart(way: Way) -> None:
    driver = ScriptedDriver([LostError()])
    async with serve(way, snapshot(driver)) as channel:
        error = await told(Client(channel).set())
    assert (error.code, error.metadata["outcome"], error.metadata["attempt"]) == (
        grpc.StatusCode.UNAVAILABLE, "unknown", "1")
    assert (error.retry_s, error.pushback, error.rich.retry_policy.retryable) == (None, "-1", False)
    assert driver.calls == ["set"]


async def test_a_flapping_backend_is_hidden_from_readers(way: Way) -> None:
    driver = ScriptedDriver([LostError() if call % 3 == 0 else None for call in range(60)])
    async with serve(way, snapshot(driver)) as channel:
        client = Client(channel)
        assert {await client.get() for _ in range(40)} == {b"value"}
    assert len(driver.calls) == 60


async def test_a_scan_fails_with_the_first_failure_after_an_element(way: Way) -> None:
    driver = ScriptedDriver([RefusedError(), None, RefusedError()])
    async with serve(way, snapshot(driver)) as channel:
        elements = Client(channel).scan()
        assert (await anext(aiter(elements))).key == "key"
        error = await told(anext(aiter(elements)))
    assert (error.metadata["outcome"], error.metadata["attempt"]) == ("not_executed", "1")
    assert driver.calls == ["scan"] * 3


async def test_buf2_an_open_circuit_over_the_wire(way: Way) -> None:
    driver = ScriptedDriver(always=LostError())
    options = {"circuit": CircuitOptions(reset_timeout_s=0.2)}
    async with serve(way, snapshot(driver, **options)) as channel:
        client = Client(channel)
        for _ in range(5):
            await told(client.set())
        error = await told(client.get())
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN")
        assert (error.metadata["outcome"], error.metadata["last_failure"]) == ("not_executed", "BACKEND_UNAVAILABLE")
        assert error.rich.code == errors_pb2.ERROR_CODE_CIRCUIT_BREAKER_OPEN == 604
        assert error.retry_s is not None
        assert 0 < error.retry_s <= 0.2
        assert len(driver.calls) == 5
        driver.always = None
        await asyncio.sleep(error.retry_s)  # as it was told to
        assert await client.get() == b"value"


async def test_a_full_store_and_short_deadlines_open_no_circuit(way: Way) -> None:
    driver = ScriptedDriver([FullError()] * 8, always=30.0)
    built = snapshot(driver)
    async with serve(way, built) as channel:
        client = Client(channel)
        for _ in range(8):
            error = await told(client.set())
            assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
        for _ in range(8):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.get(within_s=0.02)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        circuit = built.routes["orders"].slots["store"].circuit
        assert circuit is not None
        assert circuit.closed


async def test_retries_end_with_the_callers_deadline(way: Way) -> None:
    driver = ScriptedDriver(always=RefusedError())
    driver.status = Health.UNHEALTHY
    async with serve(way, snapshot(driver, reconnect=ReconnectOptions(wait_s=30))) as channel:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Client(channel).get(within_s=0.2)
        assert time.monotonic() - began < 5
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_buf1_an_outage_that_a_driver_mends_is_felt_as_a_delay_alone() -> None:
    driver = ScriptedDriver()
    async with serve(Way.SERVER, snapshot(driver, reconnect=ReconnectOptions(wait_s=5))) as channel:
        client = Client(channel)
        await client.set()
        driver.always, driver.status = RefusedError(), Health.UNHEALTHY
        calls = [asyncio.ensure_future(client.set()) for _ in range(200)]
        await asyncio.wait(calls, timeout=0.3)
        assert not any(call.done() for call in calls)
        driver.always, driver.status = None, Health.HEALTHY
        await asyncio.gather(*calls)


async def test_a_stock_retry_policy_heeds_the_pushback() -> None:
    """The proxy's own attempts are used up; the client makes another call when it was told to, and succeeds."""
    driver = ScriptedDriver([RefusedError()] * 3)
    policy = {"methodConfig": [{"name": [{}], "retryPolicy": {
        "maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"]}}]}
    options = [("grpc.service_config", json.dumps(policy))]
    async with served(snapshot(driver)) as address, grpc.aio.insecure_channel(address, options=options) as channel:
        began = time.monotonic()
        await Client(channel).set()
    assert 0.4 < time.monotonic() - began < 5
    assert driver.calls == ["set"] * 4


async def test_ready_stays_true_while_its_body_and_the_metrics_show_the_circuit() -> None:
    driver = ScriptedDriver(always=LostError())
    namespaces = Namespaces()
    namespaces.swap(snapshot(driver))
    lifecycle = Lifecycle()
    lifecycle.enter(State.RUNNING)
    process_status = ProcessStatus(namespaces, lifecycle, Server(), LoopMonitor(Histogram()), QueuedTotal(1))
    async with serve(Way.SERVER, namespaces.current) as channel:
        client = Client(channel)
        for _ in range(5):
            await told(client.set())
        ready, body = process_status.readiness()
    shown: Any = body["namespaces"]
    assert ready
    assert (shown["orders"]["health"], shown["orders"]["circuit"]) == ("unhealthy", "open")
    assert not process_status.namespaces()["orders"].serving
    figures = {metric.name: [(sample.labels, sample.value) for sample in metric.samples]
               for metric in process_status.collect()}
    assert figures["prism_circuit_state"] == [((("namespace", "orders"), ("backend", "scripted")), 2)]
    assert figures["prism_circuit_opened_total"][0][1] == 1
