"""Spans and lines of single calls: which ones there are, what they say, and that a collector may be missing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from prometheus_client.parser import text_string_to_metric_families

from prism.interfaces.keyvalue import (
    keyvalue_basic_pb2,
    keyvalue_basic_pb2_grpc,
    keyvalue_ttl_pb2,
    keyvalue_ttl_pb2_grpc,
)
from prism_proxy._native.grpc.call_watch import EndedCall
from prism_proxy._native.grpc.metrics import MethodStats
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
    """Which ones follows from the ids of their traces, as OpenTelemetry's SDKs decide it: so their number is exact."""
    draw = random.Random(20)
    ids = [draw.getrandbits(128) | 1 for _ in range(10_000)]
    expected = {f"{found:032x}" for found in ids if found % 2**64 < TraceIdRatioBased(0.01).bound}
    assert 70 <= len(expected) <= 130
    proxy = await tracing(collector, "--slow-call-s", "0").start()
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        stub = basic(channel)
        for at in range(0, len(ids), 100):
            await asyncio.gather(*(
                stub.Get(keyvalue_basic_pb2.GetRequest(key="a"),
                         metadata=(("traceparent", f"00-{found:032x}-{SPAN_ID}-00"),))
                for found in ids[at:at + 100]))
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Get(keyvalue_basic_pb2.GetRequest(key="a"), metadata=(("x-namespace", "nowhere"),))
    await proxy.stop()
    failed = [span for span in collector.spans if span.status.code == 2]
    assert len(failed) == 50
    assert attributes(failed[0])["rpc.grpc.status_code"] == 5
    sampled = [span.trace_id.hex() for span in collector.spans if span.status.code != 2]
    assert len(sampled) == len(expected)
    assert set(sampled) == expected


@pytest.fixture(params=["absent", "silent"])
async def dead_collector(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    """A port at which nobody listens, or somebody who takes connections and never says a word."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    if request.param == "absent":
        server.close()
    yield server.sockets[0].getsockname()[1] if server.sockets else 9
    for writer in held:
        writer.close()
    server.close()


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """The series of a metric, by the values of their labels."""
    return {tuple(sample.labels.values()): sample.value for family in text_string_to_metric_families(text)
            for sample in family.samples if sample.name == name}


async def test_a_dead_collector_slows_nothing_grows_nothing_and_its_losses_are_counted(dead_collector: int) -> None:
    """Each call that was to be recorded is counted: its report was one too many, or its span waits, or is dropped."""
    room, rounds, at_once = 600, 30, 200
    proxy = await ProxyProcess(
        *QUIET, "--trace-exporter", "otlp", "--trace-endpoint", f"http://127.0.0.1:{dead_collector}",
        "--trace-sample-ratio", "1", "--trace-metrics", environment={
            "OTEL_BSP_MAX_QUEUE_SIZE": str(room), "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}).start()
    resident: list[int] = []
    async with grpc.aio.insecure_channel(proxy.address) as channel:
        stub = basic(channel)
        for _ in range(rounds):
            await asyncio.gather(*(stub.Get(keyvalue_basic_pb2.GetRequest(key="a"), timeout=5) for _ in range(at_once)))
            resident.append(proxy.resident_bytes())
    _, text = await proxy.get("/metrics")
    dropped = samples(text, "prism_telemetry_dropped_total")
    unheard = samples(text, "prism_call_reports_dropped_total")[()]
    spans = rounds * at_once - unheard
    assert spans > room
    assert spans - room <= dropped["spans", "queue"] + dropped["spans", "collector"] <= spans
    assert resident[-1] - resident[rounds // 2] < 4_000_000
    began = time.monotonic()
    assert await proxy.stop() == 0
    assert time.monotonic() - began < 9
    told = [line for line in proxy.lines if line["logger"] == "prism.telemetry"]
    assert len(told) == 1
    assert not [line for line in proxy.lines if line["logger"].startswith("opentelemetry")]


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
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        watch.cancel()  # how long a stream lasts is its caller's affair: no line
        await basic(channel).Get(keyvalue_basic_pb2.GetRequest(key="secret-key"),
                                 metadata=(*SAMPLED, ("x-request-id", "r-7")))
    await proxy.stop()
    (line,) = [line for line in proxy.lines if line["logger"] == "prism.calls"]
    assert "span_id" not in line    # where calls are not traced they have no span of ours
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
    exported: list[EndedCall] = []
    reports = CallReports("errors", 0.1, exported.append)
    reports.ended(ended(3, SAMPLED))
    assert not caplog.records
    assert [call.metadata for call in exported] == [SAMPLED]
