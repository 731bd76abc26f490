"""Metrics by OpenTelemetry: calls by status, and their durations as a histogram.

Figures are kept natively; the SDK has no instrument that takes a finished histogram, so it is added to what the SDK's
reader has collected, on its way to the exporter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from prism_proxy import __version__
from prism_proxy._native.grpc.metrics import BUCKET_BOUNDS_NS
from prism_proxy.telemetry.dropped_exports import DroppedExports
from prism_proxy.telemetry.metrics import MethodFigures
from prism_proxy.telemetry.tracing_options import SERVICE, TraceOptions

INTERVAL_MS = 15_000
BOUNDS_MS = tuple(bound / 1e6 for bound in BUCKET_BOUNDS_NS)
Figures = Callable[[], Iterable[MethodFigures]]


def meter_provider(
    options: TraceOptions, resource: Any, figures: Figures, dropped_exports: DroppedExports
) -> MeterProvider:
    """Sends every 15 s, and once more at `shutdown`; what does not arrive is counted in `dropped_exports`."""
    if options.exporter == "stdout":
        exporter: Any = ConsoleMetricExporter()
    else:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        exporter = OTLPMetricExporter(**options.target())

    def calls(_: CallbackOptions) -> Iterable[Observation]:
        for *method, statuses, _counts, _seconds in figures():
            for code, count in enumerate(statuses):
                if count:
                    yield Observation(count, {**_attributes(*method), "rpc.grpc.status_code": code})

    reader = PeriodicExportingMetricReader(WithDurations(exporter, figures, dropped_exports),
                                           export_interval_millis=INTERVAL_MS)
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    provider.get_meter(SERVICE, __version__).create_observable_counter(
        "prism.rpc.server.calls", [calls], "{call}", "Calls that have ended, by status.")
    return provider


class WithDurations(MetricExporter):
    """Adds the histogram `rpc.server.duration` (ms, of the conventions for RPC servers) to what `exporter` gets."""

    def __init__(self, exporter: MetricExporter, figures: Figures, dropped_exports: DroppedExports) -> None:
        super().__init__()
        self._exporter = exporter
        self._dropped_exports = dropped_exports
        self._figures = figures
        self._started_ns = time.time_ns()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        for resource in metrics_data.resource_metrics[:1]:
            for scope in resource.scope_metrics[:1]:
                scope.metrics.append(self._durations())  # type: ignore[attr-defined]
        result = MetricExportResult.FAILURE
        try:
            result = self._exporter.export(metrics_data, timeout_millis, **kwargs)
        finally:
            if result is not MetricExportResult.SUCCESS:
                self._dropped_exports.add("metrics", "collector", _points(metrics_data))
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis, **kwargs)

    def _durations(self) -> Metric:
        now = time.time_ns()
        points = [
            HistogramDataPoint(
                attributes=_attributes(*method), start_time_unix_nano=self._started_ns, time_unix_nano=now,
                count=counts[-1], sum=seconds * 1e3, explicit_bounds=BOUNDS_MS, min=0.0, max=0.0,
                bucket_counts=[counts[0], *(high - low for low, high in pairwise(counts))])
            for *method, _statuses, counts, seconds in self._figures()]
        return Metric("rpc.server.duration", "From the request head to the status.", "ms",
                      Histogram(points, AggregationTemporality.CUMULATIVE))


def _points(data: MetricsData) -> int:
    return sum(len(metric.data.data_points) for resource in data.resource_metrics for scope in resource.scope_metrics
               for metric in scope.metrics)


def _attributes(service: str, method: str, namespace: str, backend: str) -> dict[str, str]:
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "prism.namespace": namespace,
            "prism.backend": backend}
