"""Spans and lines of single calls: which ones there are, what they say, and that a collector may be missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import (
    keyvalue_basic_pb2,
    keyvalue_basic_pb2_grpc,
    keyvalue_ttl_pb2,
    keyvalue_ttl_pb2_grpc,
)
from prism_proxy._native.call_watch import EndedCall
from prism_proxy._native.metrics import MethodStats
from prism_proxy.telemetry import trace
from prism_proxy.telemetry.calls import CallReports
from tests.services.collector import Collector, attributes
from tests.services.proxy import ProxyProcess

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = (("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"),)
QUIET = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-format", "json")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    started = await Collector().start()
    yield started
    await started.stop()


def tracing(collector: Collector, *more: str) -> ProxyProcess:
    return ProxyProcess(*QUIET, "--trace-exporter", "otlp", "--trace-endpoint", f"http://127.0.0.1:{collector.port}",
                        *more, environment={"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"})


def basic(channel: grpc.aio.Channel) -> Any:
    return keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(channel)


async def test_one_request_is_one_trace_over_two_processes(collector: Collector) -> None:
    """The caller's span is the parent of ours, and ours of what happened at the backend; the last is sent at the
    end."""
    proxy = await tracing(collector, "--trace-sample-ratio", "0").start()
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        await basic(channel).Get(keyvalue_basic_pb2.GetRequest(key="a"), metadata=(*SAMPLED, ("x-request-id", "r-1")))
        ttl = keyvalue_ttl_pb2_grpc.KeyValueTTLInterfaceStub(channel)
        await ttl.GetTTL(keyvalue_ttl_pb2.GetTTLRequest(key="a"), metadata=SAMPLED)
    assert await proxy.stop() == 0
    spans = {span.name: span for span in collector.spans}
    get = spans["prism.interfaces.keyvalue.KeyValueBasicInterface/Get"]
    served = spans["prism.interfaces.keyvalue.KeyValueTTLInterface/GetTTL"]
    inner = spans["memstore GetTTL"]
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
    assert get.parent_span_id.hex() == served.parent_span_id.hex() == SPAN_ID
    assert inner.parent_span_id == served.span_id
    assert served.start_time_unix_nano <= inner.start_time_unix_nano
    assert inner.end_time_unix_nano <= served.end_time_unix_nano
    found = attributes(get)
    assert (found["rpc.system"], found["rpc.method"], found["prism.namespace"], found["prism.backend"]) == (
        "grpc", "Get", "default", "memstore")
    assert (found["network.peer.address"], found["prism.request_id"]) == ("127.0.0.1", "r-1")
    assert attributes(inner)["prism.attempt"] == 1
    assert collector.resources["service.name"] == "prism-proxy"
    assert collector.resources["deployment.environment"] == "test"


async def test_of_ordinary_calls_one_in_a_hundred_is_traced_and_every_failure(collector: Collector) -> None:
    proxy = await tracing(collector).start()
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        stub = basic(channel)
        for _ in range(100):
            await asyncio.gather(*(stub.Get(keyvalue_basic_pb2.GetRequest(key="a")) for _ in range(100)))
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Get(keyvalue_basic_pb2.GetRequest(key="a"), metadata=(("x-namespace", "nowhere"),))
    await proxy.stop()
    failed = [span for span in collector.spans if span.status.code == 2]
    slow = [span for span in collector.spans if span.end_time_unix_nano - span.start_time_unix_nano > 100e6]
    assert len(failed) == 50
    assert attributes(failed[0])["rpc.grpc.status_code"] == 5
    assert 60 <= len(collector.spans) - len(failed) - len(slow) <= 145


async def test_without_a_collector_calls_are_as_fast_and_the_end_does_not_wait() -> None:
    proxy = await ProxyProcess(*QUIET, "--trace-exporter", "otlp", "--trace-endpoint", "http://127.0.0.1:9",
                               "--trace-sample-ratio", "1").start()
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        stub = basic(channel)
        for _ in range(20):
            await asyncio.gather(*(stub.Get(keyvalue_basic_pb2.GetRequest(key="a"), timeout=5) for _ in range(200)))
    began = time.monotonic()
    assert await proxy.stop() == 0
    assert time.monotonic() - began < 9


async def test_metrics_go_to_the_same_collector(collector: Collector) -> None:
    proxy = await tracing(collector, "--trace-metrics").start()
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        for _ in range(3):
            await basic(channel).Get(keyvalue_basic_pb2.GetRequest(key="a"))
    await proxy.stop()
    calls, durations = collector.metrics["prism.rpc.server.calls"], collector.metrics["rpc.server.duration"]
    assert [point.as_int for point in calls.sum.data_points] == [3]
    point, = durations.histogram.data_points
    assert durations.unit == "ms"
    assert point.count == 3 == sum(point.bucket_counts)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert 0 < point.sum < 10_000
    assert {item.key: item.value.string_value for item in point.attributes}["rpc.method"] == "Get"


async def test_slow_calls_are_logged_with_their_trace() -> None:
    proxy = await ProxyProcess(*QUIET, "--slow-call-s", "0").start()
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        await basic(channel).Get(keyvalue_basic_pb2.GetRequest(key="secret-key"),
                                 metadata=(*SAMPLED, ("x-request-id", "r-7")))
    await proxy.stop()
    # 0 turns slowness off: nothing is said of ordinary calls
    assert not [line for line in proxy.lines if line["logger"] == "prism.calls"]
    proxy = await ProxyProcess(*QUIET, "--slow-call-s", "0.0000001").start()
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        await basic(channel).Get(keyvalue_basic_pb2.GetRequest(key="secret-key"),
                                 metadata=(*SAMPLED, ("x-request-id", "r-7")))
    await proxy.stop()
    (line,) = [line for line in proxy.lines if line["logger"] == "prism.calls"]
    assert (line["event"], line["trace_id"], line["request_id"], line["namespace"], line["status"]) == (
        "a call was slow", TRACE_ID, "r-7", "default", "OK")
    assert "secret-key" not in str(line)


def ended(code: int, metadata: tuple[tuple[str, str | bytes], ...] = ()) -> EndedCall:
    return EndedCall(MethodStats("orders", "a.B", "Get", "redis"), code, 1000, metadata, "ipv4:127.0.0.1:1", ())


def test_a_flood_of_failures_is_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    reports = CallReports("errors", 0.1, None, clock=lambda: now)
    for _ in range(1000):
        reports.ended(ended(14))
    assert len(caplog.records) == 10
    now += 1
    reports.ended(ended(14))
    assert len(caplog.records) == 11
    assert caplog.records[-1].prism_fields["suppressed"] == 990  # type: ignore[attr-defined]


def test_failures_of_callers_are_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    exported: list[trace.TraceContext | None] = []
    reports = CallReports("errors", 0.1, lambda call, context: exported.append(context))
    reports.ended(ended(3, SAMPLED))
    assert not caplog.records
    assert [context.trace_id for context in exported if context is not None] == [TRACE_ID]
