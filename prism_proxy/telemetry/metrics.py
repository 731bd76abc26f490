"""The metrics of one process, and their Prometheus text.

Hot figures are kept natively (`_native.grpc.metrics`) and read here; everything else is asked for at scrape time by
collectors. Label sets are bounded: beyond the bound, series are merged under `_other`. Rows are never dropped, because
a counter that starts again looks like a crash.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prism_proxy._native.grpc.metrics import BUCKET_BOUNDS_NS, Histogram, MethodStats
from prism_runtime import log

MAX_SERIES = 4096  # methods times namespaces; a scrape stays in the low megabytes
UNKNOWN = "_unknown"
OTHER = "_other"
STATUS_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)
_BOUNDS = (*(f"{bound / 1e9:g}" for bound in BUCKET_BOUNDS_NS), "+Inf")

Labels = tuple[tuple[str, str], ...]
MethodFigures = tuple[str, str, str, str, list[int], list[int], float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a metric: label pairs and a value."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """One series of a histogram: cumulative counts by `BUCKET_BOUNDS_NS`, the last one +Inf; the sum in seconds."""

    labels: Labels
    counts: list[int]
    total: float


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, gauge or histogram with its samples.

    `merge` says what the gauges of several workers are together: their "sum", "max" or "min", or "worker": each stands
    for itself, with that label.
    """

    name: str
    kind: str
    help: str
    samples: Iterable[Sample | Distribution]
    merge: str = "sum"


@dataclass
class Metrics:
    """`collectors` are asked for further metrics at every scrape; `namespaced(path)` tells which methods have one."""

    version: str = "0"
    collectors: list[Callable[[], Iterable[Metric]]] = field(default_factory=list)
    loop_stall: Histogram = field(default_factory=Histogram)
    namespaced: Callable[[str], bool] = lambda path: False
    max_series: int = MAX_SERIES
    _methods: dict[tuple[str, str, str], MethodStats] = field(default_factory=dict)
    _by_operation: dict[tuple[str, str], list[MethodStats]] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)

    def stats_for(self, namespace: str | None, path: str, backend: str) -> MethodStats:
        """The statistics of a method of a namespace, made on first use and the same object ever after.

        `None` stands for a method without namespace, or for a namespace that does not exist.
        """
        if namespace is None:
            namespace = UNKNOWN if self.namespaced(path) else ""
        key = (namespace, path, backend)
        found = self._methods.get(key)
        if found is None and len(self._methods) >= self.max_series:
            key = (OTHER, OTHER, OTHER)
            found = self._methods.get(key)
        if found is None:
            service, _, operation = key[1].lstrip("/").rpartition("/")
            found = self._methods[key] = MethodStats(key[0], service, operation, key[2])
            self._by_operation.setdefault((key[0], _operation(found)), []).append(found)
        return found

    def figures(self) -> Iterator[MethodFigures]:
        """(service, operation, namespace, backend, calls by gRPC status, calls up to each of `BUCKET_BOUNDS_NS` and in
        all, seconds in all) of each method."""
        for row in list(self._methods.values()):
            yield (row.service, row.operation, row.namespace, row.backend, row.status_counts(),
                   *row.latency.snapshot())

    def render(self) -> Iterator[str]:
        """The exposition in Prometheus text format 0.0.4, in pieces of at most one histogram."""
        return text_of(self.families())

    def families(self) -> Iterator[Metric | None]:
        """Everything there is to show; samples are read while they are iterated. None is a place to pause."""
        # Copies of the tables, because calls may add rows between two pieces.
        yield Metric("prism_requests_total", "counter", "Calls by namespace, operation and gRPC status.",
                     self._requests())
        yield gauges("prism_requests_in_progress", "Calls that have begun and not ended, by namespace.",
                     self._running())
        yield histogram("prism_request_duration_seconds", "From the request head to the status.", (
            ((("namespace", row.namespace), ("operation", _operation(row)), ("backend", row.backend)), row.latency)
            for row in list(self._methods.values())))
        yield from self._backends()
        yield histogram("prism_loop_stall_seconds", "Lateness of the event loop.", [((), self.loop_stall)])
        for collect in (lambda: process_metrics(self.version, self._started), *self.collectors):
            yield from collect()

    def _requests(self) -> Iterator[Sample]:
        for (namespace, operation), rows in list(self._by_operation.items()):
            # Summed over backends: a namespace that changed its backend keeps one series.
            for status, *counts in zip(STATUS_NAMES, *(row.status_counts() for row in rows), strict=True):
                if any(counts):
                    yield Sample((("namespace", namespace), ("operation", operation), ("status", status)), sum(counts))

    def _running(self) -> dict[Labels, float]:
        out: dict[Labels, float] = {}
        for row in list(self._methods.values()):
            labels = (("namespace", row.namespace),)
            out[labels] = out.get(labels, 0) + row.running
        return out

    def _backends(self) -> Iterator[Metric | None]:
        totals: dict[str, int] = {}
        errors: dict[str, int] = {}
        for row in list(self._methods.values()):
            if row.backend and row.backend != OTHER:
                ok, *others = row.status_counts()
                totals[row.backend] = totals.get(row.backend, 0) + ok + sum(others)
                errors[row.backend] = errors.get(row.backend, 0) + sum(others)
                yield None
        yield counters("backend_driver_requests_total", "Calls routed to a driver.", "name", totals)
        yield counters("backend_driver_errors_total", "Calls routed to a driver that did not end OK.", "name", errors)


def process_metrics(version: str, started: float) -> Iterator[Metric]:
    """What every process shows of itself; `started` is unix time."""
    yield Metric("prism_log_lines_dropped_total", "counter", "Log lines that went nowhere because nobody read them.",
                 [Sample((), log.dropped_lines())])
    yield gauges("prism_build_info", "Version of the running software.",
                 {(("version", version), ("python", platform.python_version())): 1}, merge="max")
    times = os.times()
    yield Metric("process_cpu_seconds_total", "counter", "User and system CPU time.",
                 [Sample((), round(times.user + times.system, 2))])
    yield gauges("process_start_time_seconds", "Unix time of the start.", {(): started}, merge="min")
    yield gauges("process_resident_memory_bytes", "Resident memory.", {(): resident_bytes()}, merge="worker")
    yield gauges("process_open_fds", "Open file descriptors.", {(): len(os.listdir("/proc/self/fd"))}, merge="worker")


def resident_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counters(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    """A counter with one label from a dict."""
    return Metric(name, "counter", text, [Sample(((label, key),), value) for key, value in values.items()])


def gauges(name: str, text: str, values: dict[Labels, float], *, merge: str = "sum") -> Metric:
    """A gauge from label pairs to values."""
    return Metric(name, "gauge", text, [Sample(labels, value) for labels, value in values.items()], merge)


def histogram(name: str, text: str, series: Iterable[tuple[Labels, Histogram]]) -> Metric:
    """A histogram with the bounds of `BUCKET_BOUNDS_NS`."""
    return Metric(name, "histogram", text, (Distribution(labels, *found.snapshot()) for labels, found in series))


def text_of(families: Iterable[Metric | None]) -> Iterator[str]:
    """Prometheus text format 0.0.4, in pieces of at most one sample or distribution; an empty piece is a pause."""
    for metric in families:
        if metric is None:
            yield ""
            continue
        yield _header(metric.name, metric.kind, metric.help)
        for sample in metric.samples:
            if isinstance(sample, Sample):
                yield f"{metric.name}{_labels(sample.labels)} {_number(sample.value)}\n"
            else:
                yield _distribution(metric.name, sample)


def _distribution(name: str, series: Distribution) -> str:
    braced = _labels(series.labels)
    opened = f"{braced[:-1]}," if braced else "{"
    lines = [f'{name}_bucket{opened}le="{bound}"}} {count}\n'
             for bound, count in zip(_BOUNDS, series.counts, strict=True)]
    return "".join((*lines, f"{name}_sum{braced} {_number(series.total)}\n",
                    f"{name}_count{braced} {series.counts[-1]}\n"))


def _operation(stats: MethodStats) -> str:
    """The full method name, because the last part of a service name is not unique (reflection v1 and v1alpha)."""
    return f"{stats.service}/{stats.operation}" if stats.service else stats.operation


def _header(name: str, kind: str, text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n"


def _labels(pairs: Labels) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    """Exact: byte counts and times have more digits than a rounded form would keep."""
    if math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
