"""Figures that follow from those of the methods: by namespace, by backend, by kind of error. Counted nowhere else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prism_proxy.errors import kind_of
from prism_proxy.telemetry.metrics import Distribution, Labels, MethodFigures, Metric, Sample


def derived(figures: Iterable[MethodFigures]) -> Iterator[Metric]:
    """Made at a scrape, from the figures of all methods."""
    calls: dict[Labels, float] = defaultdict(float)
    errors: dict[Labels, float] = defaultdict(float)
    severities: dict[Labels, float] = defaultdict(float)
    times: dict[str, tuple[list[int], float]] = {}
    for _service, _operation, namespace, backend, statuses, counts, seconds in figures:
        if namespace:
            calls[(("namespace", namespace),)] += counts[-1]
        for status, count in enumerate(statuses):
            if count and status:
                category, code, severity = kind_of(status)
                errors[(("category", category), ("code", code), ("backend", backend),
                        ("namespace", namespace))] += count
                severities[(("severity", severity), ("namespace", namespace))] += count
        if backend:
            known, spent = times.get(backend, ([0] * len(counts), 0.0))
            times[backend] = [low + high for low, high in zip(known, counts, strict=True)], spent + seconds
    yield _counter("prism_namespace_requests_total", "Calls by namespace.", calls)
    yield _counter("prism_errors_total", "Calls that did not end OK, by the reason that callers get.", errors)
    yield _counter("prism_errors_by_severity", "Calls that did not end OK, by how bad that is.", severities)
    yield Metric("backend_driver_request_duration_seconds", "histogram", "Calls routed to a driver.", [
        Distribution((("name", name),), counts, seconds) for name, (counts, seconds) in times.items()])


def _counter(name: str, text: str, values: dict[Labels, float]) -> Metric:
    return Metric(name, "counter", text, [Sample(labels, value) for labels, value in values.items()])
