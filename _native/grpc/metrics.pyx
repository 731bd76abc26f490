"""Counters and histograms that a call updates in a few nanoseconds, without a Python object.

Updated by the loop thread only; reading them from there is consistent. Names and exposition live in
`prism_proxy.telemetry`.
"""
from libc.stdint cimport int64_t

# Bounds of prism_request_duration_seconds: the documented ones, and four below a millisecond.
BUCKET_BOUNDS_NS = (
    50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000,
    250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 5_000_000_000,
)
cdef int64_t BOUNDS[BUCKETS - 1]
for _index, _bound in enumerate(BUCKET_BOUNDS_NS):
    BOUNDS[_index] = _bound


cdef class Histogram:
    cdef void observe(self, int64_t elapsed_ns) noexcept:
        cdef int i = 0
        while i < BUCKETS - 1 and elapsed_ns > BOUNDS[i]:
            i += 1
        self.buckets[i] += 1
        self.sum_ns += elapsed_ns

    def observe_ns(self, int64_t elapsed_ns) -> None:
        self.observe(elapsed_ns)

    def snapshot(self) -> tuple[list[int], float]:
        """(cumulative counts by bound, the last one +Inf; sum in seconds)."""
        cdef uint64_t total = 0
        cdef list counts = []
        for i in range(BUCKETS):
            total += self.buckets[i]
            counts.append(total)
        return counts, self.sum_ns / 1e9


cdef class MethodStats:
    """Calls of one operation of one namespace: counted by gRPC status, timed from the request head to the status.

    The code that starts one adds it to `running`, which `record` takes it from.
    """

    def __cinit__(self, str namespace not None, str service not None, str operation not None, str backend not None):
        self.namespace = namespace
        self.service = service
        self.operation = operation
        self.backend = backend
        self.latency = Histogram()

    cdef void record(self, int status, int64_t elapsed_ns) noexcept:
        self.statuses[status if 0 <= status < STATUSES else 2] += 1
        self.latency.observe(elapsed_ns)
        self.running -= 1

    def record_status(self, int status, int64_t elapsed_ns) -> None:
        self.running += 1
        self.record(status, elapsed_ns)

    def status_counts(self) -> list[int]:
        """Calls by gRPC status number."""
        return [self.statuses[i] for i in range(STATUSES)]
