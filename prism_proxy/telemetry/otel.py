"""Spans and metrics by OpenTelemetry: the extra `prism-proxy[otel]`, imported when it is switched on.

Which calls become spans is decided before (`telemetry.calls`), so every span that is made here is sent, or counted in
`dropped_exports`. Nothing here waits for a collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from prism_proxy import __version__
from prism_proxy._native.grpc.call_watch import EndedCall
from prism_proxy.telemetry import trace
from prism_proxy.telemetry.dropped_exports import DroppedExports, ExporterLog
from prism_proxy.telemetry.metrics import MethodFigures, Metrics
from prism_proxy.telemetry.tracing_options import SERVICE, TraceOptions
from prism_runtime.lifecycle import StartError

if TYPE_CHECKING:
    from prism_proxy._native.grpc.call_watch import TraceIds

FLUSH_MS = 5000


def start(options: TraceOptions, metrics: Metrics) -> Telemetry:
    """What sends spans of a process, and counts those it drops. StartError when it cannot be."""
    try:
        found = Telemetry(options, metrics.figures)
    except ModuleNotFoundError as error:
        raise StartError(f"trace.exporter is {options.exporter!r} and needs {error.name}: pip install "
                         "'prism-proxy[otel]'") from error
    except ValueError as error:
        raise StartError(str(error)) from error
    metrics.collectors.append(found.dropped_exports.collect)
    return found


class Telemetry:
    """Sends spans, and metrics where asked for; `figures` are those of `telemetry.metrics.Metrics`. ValueError when the
    environment says something of spans that cannot be."""

    def __init__(self, options: TraceOptions, figures: Callable[[], Iterable[MethodFigures]]) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        from prism_proxy.telemetry.otel_spans import BoundedSpans

        resource = Resource({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__}).merge(
            OTELResourceDetector().detect())
        self.dropped_exports = DroppedExports()
        self._exporter_log = ExporterLog(self.dropped_exports)
        self._metrics: Any = None
        self._ids = _given_ids()
        self._provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, id_generator=self._ids,
                                        shutdown_on_exit=False)
        self._spans = BoundedSpans(_span_exporter(options), self.dropped_exports)
        self._provider.add_span_processor(self._spans)
        self._tracer = self._provider.get_tracer(SERVICE, __version__)
        if options.metrics:
            from prism_proxy.telemetry.otel_metrics import meter_provider

            self._metrics = meter_provider(options, resource, figures, self.dropped_exports)

    def export(self, call: EndedCall) -> None:
        """Make the spans of a call that has ended."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        began = call.ended_ns - call.elapsed_ns
        self._ids.given = call.trace
        span = self._tracer.start_span(
            f"{call.service}/{call.operation}", context=_parent(call), kind=SpanKind.SERVER, start_time=began,
            attributes=_attributes(call))
        if call.code:
            span.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(span)
        for name, child_began, child_ended, attributes, error in call.spans:
            child = self._tracer.start_span(name, context=inside, kind=SpanKind.CLIENT, start_time=child_began,
                                            attributes=attributes)
            if error:
                child.set_status(Status(StatusCode.ERROR, error))
            child.end(child_ended)
        span.end(call.ended_ns)

    async def close(self) -> None:
        """Send what waits, for at most 5 s; what a collector does not take by then is lost."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def finish() -> None:
            if self._metrics is not None:
                self._metrics.shutdown(FLUSH_MS)
            self._provider.force_flush(FLUSH_MS)
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop has not waited
                loop.call_soon_threadsafe(done.set)

        # A daemon, because the SDK's own limits of time do not hold while its exporter retries.
        threading.Thread(target=finish, daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), FLUSH_MS / 1000)
        self._spans.abandon()
        self._exporter_log.close()


def _given_ids() -> Any:
    """Ids for the SDK: those in `given` for the next span, random ones for others."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class GivenIds(RandomIdGenerator):
        given: TraceIds | None = None

        def generate_trace_id(self) -> int:
            return self.given[0] if self.given is not None else super().generate_trace_id()

        def generate_span_id(self) -> int:
            given, self.given = self.given, None
            return given[1] if given is not None else super().generate_span_id()

    return GivenIds()


def _parent(call: EndedCall) -> Any:
    """The context of the caller's span; an empty one where the trace begins with ours."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

    caller = trace.from_metadata(call.metadata)
    if caller is None:
        return Context()
    remote = SpanContext(int(caller.trace_id, 16), int(caller.span_id, 16), is_remote=True,
                         trace_flags=TraceFlags(TraceFlags.SAMPLED),
                         trace_state=TraceState.from_header([caller.state]) if caller.state else None)
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _attributes(call: EndedCall) -> dict[str, str | int]:
    """By OpenTelemetry's conventions for RPC servers, and what is ours under `prism.`."""
    found: dict[str, str | int] = {
        "rpc.system": "grpc", "rpc.service": call.service, "rpc.method": call.operation,
        "rpc.grpc.status_code": call.code, "prism.namespace": call.namespace, "prism.backend": call.backend}
    kind, _, where = call.peer.partition(":")
    if kind in ("ipv4", "ipv6"):
        address, _, port = where.rpartition(":")
        found["network.peer.address"] = address.removeprefix("%5B").removesuffix("%5D")
        if port.isdigit():
            found["network.peer.port"] = int(port)
    request_id = next((value for name, value in call.metadata if name == "x-request-id"), None)
    if isinstance(request_id, str):
        found["prism.request_id"] = request_id
    return found


def _span_exporter(options: TraceOptions) -> Any:
    if options.exporter == "stdout":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(**options.target())
