"""The metrics of one process, and their Prometheus text.

Hot figures are kept natively (`_native.metrics`) and read here; everything else is asked for at scrape time through
collectors. Label sets are bounded: beyond the bound, series are merged under `_other`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prism_proxy._native.metrics import BUCKET_BOUNDS_NS, Histogram, MethodStats

MAX_SERIES = 4096  # methods times namespaces; a scrape stays in the low megabytes
UNKNOWN = "_unknown"
OTHER = "_other"
STATUS_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)
_BOUNDS = tuple(f"{bound / 1e9:g}" for bound in BUCKET_BOUNDS_NS) + ("+Inf",)


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a metric: label pairs and a value."""

    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter or gauge with its samples."""

    name: str
    kind: str
    help: str
    samples: list[Sample]


@dataclass
class Metrics:
    """`collectors` are asked for further metrics at every scrape."""

    version: str = "0"
    collectors: list[Callable[[], Iterable[Metric]]] = field(default_factory=list)
    loop_stall: Histogram = field(default_factory=Histogram)
    _methods: dict[tuple[str, str, str], MethodStats] = field(default_factory=dict)
    _started: float = field(default_factory=time.time)

    def stats_for(self, namespace: str | None, path: str, backend: str) -> MethodStats:
        """The statistics of a method of a namespace, made on first use. `None` is a method without namespace."""
        key = (namespace or "", path, backend)
        found = self._methods.get(key)
        if found is None and len(self._methods) >= MAX_SERIES:
            key = (OTHER, OTHER, OTHER)
            found = self._methods.get(key)
        if found is None:
            service, _, operation = key[1].lstrip("/").rpartition("/")
            found = self._methods[key] = MethodStats(key[0], service, operation, key[2])
        return found

    def render(self) -> str:
        """The exposition in Prometheus text format 0.0.4."""
        lines: list[str] = []
        lines.extend(self._request_lines())
        lines.extend(_histogram_lines("prism_loop_stall_seconds", "Lateness of the event loop.", [((), self.loop_stall)]))
        for metric in [*self._process_metrics(), *(m for collect in self.collectors for m in collect())]:
            lines.append(f"# HELP {metric.name} {metric.help}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines.extend(f"{metric.name}{_labels(sample.labels)} {sample.value:g}" for sample in metric.samples)
        return "\n".join(lines) + "\n"

    def _request_lines(self) -> Iterator[str]:
        stats = list(self._methods.values())
        yield "# HELP prism_requests_total Calls by namespace, operation and gRPC status."
        yield "# TYPE prism_requests_total counter"
        for item in stats:
            for status, count in enumerate(item.status_counts()):
                if count:
                    labels = (("namespace", item.namespace), ("operation", _operation(item)),
                              ("status", STATUS_NAMES[status]))
                    yield f"prism_requests_total{_labels(labels)} {count}"
        series = [((("namespace", item.namespace), ("operation", _operation(item)), ("backend", item.backend)),
                   item.latency) for item in stats]
        yield from _histogram_lines("prism_request_duration_seconds", "From the request head to the status.", series)

    def _process_metrics(self) -> Iterator[Metric]:
        yield Metric("prism_build_info", "gauge", "Version of the running software.",
                     [Sample((("version", self.version),), 1)])
        times = os.times()
        yield Metric("process_cpu_seconds_total", "counter", "User and system CPU time.",
                     [Sample((), round(times.user + times.system, 2))])
        yield Metric("process_start_time_seconds", "gauge", "Unix time of the start.", [Sample((), self._started)])
        yield Metric("process_resident_memory_bytes", "gauge", "Resident memory.", [Sample((), resident_bytes())])
        yield Metric("process_open_fds", "gauge", "Open file descriptors.",
                     [Sample((), len(os.listdir("/proc/self/fd")))])


def resident_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counters(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    """A counter with one label from a dict."""
    return Metric(name, "counter", text, [Sample(((label, key),), value) for key, value in values.items()])


def gauges(name: str, text: str, values: dict[tuple[tuple[str, str], ...], float]) -> Metric:
    """A gauge from label pairs to values."""
    return Metric(name, "gauge", text, [Sample(labels, value) for labels, value in values.items()])


def _operation(stats: MethodStats) -> str:
    return f"{stats.service.rpartition('.')[2]}/{stats.operation}" if stats.service else stats.operation


def _histogram_lines(
    name: str, text: str, series: Iterable[tuple[tuple[tuple[str, str], ...], Histogram]]
) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} histogram"
    for labels, histogram in series:
        counts, total = histogram.snapshot()
        for bound, count in zip(_BOUNDS, counts, strict=True):
            yield f"{name}_bucket{_labels((*labels, ('le', bound)))} {count}"
        yield f"{name}_sum{_labels(labels)} {total:.9g}"
        yield f"{name}_count{_labels(labels)} {counts[-1]}"


def _labels(pairs: tuple[tuple[str, str], ...]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
