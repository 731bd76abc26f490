"""Figures by namespace, backend and kind of error, from those of the methods."""

from __future__ import annotations

from typing import Any

from prism_proxy.telemetry.derived import derived
from prism_proxy.telemetry.metrics import Distribution, Metrics, Sample

GET, SET = (f"/prism.interfaces.keyvalue.KeyValueBasicInterface/{name}" for name in ("Get", "Set"))


def found() -> dict[str, dict[Any, Any]]:
    metrics = Metrics()
    for path, backend, statuses in ((GET, "redis", (0, 0, 5, 14)), (SET, "redis", (0, 13)), (GET, "memstore", (0,))):
        row = metrics.stats_for("orders", path, backend)
        for status in statuses:
            row.record_status(status, 2_000_000)
    metrics.stats_for(None, "/grpc.health.v1.Health/Check", "").record_status(0, 1000)
    out: dict[str, dict[Any, Any]] = {}
    for metric in derived(metrics.figures()):
        out[metric.name] = {
            tuple(value for _, value in sample.labels): sample.value if isinstance(sample, Sample) else sample
            for sample in metric.samples if isinstance(sample, Sample | Distribution)}
    return out


def test_calls_are_summed_by_namespace() -> None:
    assert found()["prism_namespace_requests_total"] == {("orders",): 7}


def test_errors_are_named_as_callers_see_them() -> None:
    assert found()["prism_errors_total"] == {
        ("CLIENT_ERROR", "NOT_FOUND", "redis", "orders"): 1,
        ("SERVER_ERROR", "SERVICE_UNAVAILABLE", "redis", "orders"): 1,
        ("SERVER_ERROR", "INTERNAL_ERROR", "redis", "orders"): 1}
    assert found()["prism_errors_by_severity"] == {("INFO", "orders"): 1, ("ERROR", "orders"): 2}


def test_durations_are_summed_by_backend() -> None:
    redis = found()["backend_driver_request_duration_seconds"]["redis",]
    assert redis.counts[-1] == 6
    assert abs(redis.total - 0.012) < 1e-9
    assert redis.counts == sorted(redis.counts)
