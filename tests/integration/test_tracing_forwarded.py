"""The trace of a call that another process serves: each process's span is the parent of the next one's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_ttl_pb2, keyvalue_ttl_pb2_grpc
from prism_proxy._native.grpc.call_watch import CallWatch, EndedCall
from prism_proxy._native.grpc.metrics import MethodStats
from tests.services.cluster import MEMSTORE, cluster
from tests.services.collector import Collector, attributes
from tests.support.echo import OneMethod
from tests.support.forwarding import NAMESPACE, forwarding
from tests.support.h2peer import H2Peer

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01")
UNSAMPLED = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-00")
MALFORMED = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}")
STATE = ("tracestate", "a=1")
Metadata = Sequence[tuple[str, str]]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    started = await Collector().start()
    yield started
    await started.stop()


class Reports(asyncio.Queue[EndedCall]):
    """What a watch told; `watch` makes it."""

    def watch(self, **options: Any) -> CallWatch:
        return CallWatch(self.put_nowait, range(17), **options)


async def passed_on(sent: Metadata, watch: CallWatch) -> list[tuple[str, str]]:
    """The trace context that the owner of a namespace gets for what a caller sent."""
    seen: list[tuple[str, str]] = []

    async def behaviour(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        seen.extend((name, str(value)) for name, value in context.invocation_metadata() or ()
                    if name in ("traceparent", "tracestate"))
        return request

    def stats_for(namespace: str | None, path: str, backend: str) -> MethodStats:
        return MethodStats(namespace or "", "test.One", "Call", backend)

    async with (
        forwarding(OneMethod(behaviour), watch=watch, stats_for=stats_for) as pair,
        H2Peer(pair.port) as peer,  # stock clients cannot send a traceparent twice
    ):
        reply = await peer.unary(OneMethod.PATH, b"", *sent, ("x-namespace", NAMESPACE))
    assert reply.status == 0
    return seen


@pytest.mark.parametrize(("parent", "flags"), [(SAMPLED, "01"), (UNSAMPLED, "00")])
async def test_our_span_is_the_parent_and_the_callers_decision_goes_on(parent: tuple[str, str], flags: str) -> None:
    reports = Reports()
    seen = await passed_on((parent, STATE), reports.watch(traces=True))
    call = await asyncio.wait_for(reports.get(), 10)
    assert call.trace is not None
    trace_id, span_id, above = call.trace
    assert (f"{trace_id:032x}", f"{above:016x}") == (TRACE_ID, SPAN_ID)
    assert span_id != above
    assert sorted(seen) == [("traceparent", f"00-{TRACE_ID}-{span_id:016x}-{flags}"), STATE]


@pytest.mark.parametrize("sent", [(), (STATE,), (MALFORMED, STATE), (SAMPLED, SAMPLED, STATE)])
async def test_what_continues_no_trace_begins_one(sent: Metadata) -> None:
    """A tracestate goes with the trace it belonged to."""
    reports = Reports()
    seen = await passed_on(sent, reports.watch(traces=True))
    call = await asyncio.wait_for(reports.get(), 10)
    assert call.trace is not None
    trace_id, span_id, above = call.trace
    assert f"{trace_id:032x}" != TRACE_ID
    assert above == 0
    assert seen == [("traceparent", f"00-{trace_id:032x}-{span_id:016x}-00")]


@pytest.mark.parametrize("sent", [(UNSAMPLED,), ()])
async def test_a_call_in_the_share_is_passed_on_as_sampled(sent: Metadata) -> None:
    (_, text), = await passed_on(sent, CallWatch(lambda call: None, (), traces=True, share=1))
    assert text.endswith("-01")
    assert text.startswith(f"00-{TRACE_ID}-") == bool(sent)


@pytest.mark.parametrize("sent", [(), (STATE,), (SAMPLED, STATE), (MALFORMED,), (SAMPLED, SAMPLED)])
async def test_without_tracing_the_context_passes_as_it_came(sent: Metadata) -> None:
    reports = Reports()
    assert sorted(await passed_on(sent, reports.watch())) == sorted(sent)
    assert (await asyncio.wait_for(reports.get(), 10)).trace is None


async def test_a_call_over_two_proxies_is_one_line_of_spans(collector: Collector, tmp_path: Path) -> None:
    """Caller, the proxy it came to, the proxy that owns the namespace, the backend; logs name the spans of theirs."""
    arguments = ("--log-format", "json", "--trace-exporter", "otlp", "--trace-sample-ratio", "0",
                 "--trace-endpoint", f"http://127.0.0.1:{collector.port}", "--log-calls", "all")
    async with cluster(tmp_path, 2, *arguments) as found:
        names = [f"orders-{number}" for number in range(8)]
        await found.create(names, MEMSTORE)
        front = found.client(1)
        owners = {name: await front.owner((("x-namespace", name),)) for name in names}
        elsewhere = next(name for name, owner in owners.items() if owner == "proxy-02")
        ttl: Any = keyvalue_ttl_pb2_grpc.KeyValueTTLInterfaceStub(front.channel)  # type: ignore[no-untyped-call]
        await ttl.GetTTL(keyvalue_ttl_pb2.GetTTLRequest(key="a"), metadata=(SAMPLED, ("x-namespace", elsewhere)))
        proxies = [found.proxies.pop(number) for number in (1, 2)]
        assert [await process.stop() for process in proxies] == [0, 0]
    spans = {span.parent_span_id.hex(): span for span in collector.spans if span.trace_id.hex() == TRACE_ID}
    entry = spans.pop(SPAN_ID)
    served = spans.pop(entry.span_id.hex())
    inner = spans.pop(served.span_id.hex())
    assert not spans
    assert (attributes(served)["prism.namespace"], inner.name) == (elsewhere, "memstore GetTTL")
    for process, span in zip(proxies, (entry, served), strict=True):
        lines = [line for line in process.lines if line.get("trace_id") == TRACE_ID]
        assert [line["span_id"] for line in lines] == [span.span_id.hex()]
