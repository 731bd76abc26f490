"""What operators scrape of the registry, in Prometheus text format. Reads only; `count` is called for each request."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prism_runtime.process_metrics import family, header, number, process, sample

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """`gauges()` gives figures of the moment: (name, help, value). `cached()` counts replies from the cache, by
    operation."""

    def __init__(self, cached: Callable[[], Mapping[str, int]],
                 gauges: Callable[[], Iterable[tuple[str, str, float]]]) -> None:
        self._cached = cached
        self._other_caches: list[tuple[str, Callable[[], int]]] = []
        self._gauges = gauges
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def count(self, operation: str, status: int, seconds: float) -> None:
        """A request that the cache did not answer."""
        self._requests[operation, status] += 1
        counts = self._buckets.setdefault(operation, [0] * (len(BUCKETS) + 1))
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._seconds[operation] = self._seconds.get(operation, 0.0) + seconds

    def count_cached(self, operation: str, hits: Callable[[], int]) -> None:
        """One more cache of replies, of gRPC."""
        self._other_caches.append((operation, hits))

    def count_call(self, operation: str, status: int) -> None:
        """A gRPC call, by the HTTP status that its outcome would have."""
        self._requests[operation, status] += 1

    def render(self) -> Iterator[str]:
        """The page, in pieces."""
        total = Counter(self._requests)
        cached = Counter(self._cached())
        for operation, hits in self._other_caches:
            cached[operation] += hits()
        for operation, count in cached.items():
            total[operation, 200] += count
        yield family("prism_schema_registry_requests_total", "counter", "requests answered", (
            ({"operation": operation, "status": str(status)}, count)
            for (operation, status), count in sorted(total.items())))
        yield family("prism_schema_registry_cached_replies_total", "counter", "of them from the cache of replies", (
            ({"operation": operation}, count) for operation, count in sorted(cached.items())))
        yield from self._durations()
        for name, text, value in self._gauges():
            yield family(name, "gauge", text, (({}, value),))
        yield from process()

    def _durations(self) -> Iterator[str]:
        name = "prism_schema_registry_request_duration_seconds"
        yield header(name, "histogram", "of requests that the cache did not answer")
        for operation, counts in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip((*BUCKETS, float("inf")), counts, strict=True):
                total += count
                yield sample(f"{name}_bucket", {"operation": operation, "le": number(bound)}, total)
            yield sample(f"{name}_sum", {"operation": operation}, self._seconds[operation])
            yield sample(f"{name}_count", {"operation": operation}, total)
