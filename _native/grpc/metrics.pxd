from libc.stdint cimport int64_t, uint64_t

cdef enum:
    STATUSES = 17
    BUCKETS = 16   # 15 bounds and +Inf


cdef class Histogram:
    cdef uint64_t buckets[BUCKETS]
    cdef uint64_t sum_ns
    cdef void observe(self, int64_t elapsed_ns) noexcept


cdef class MethodStats:
    cdef readonly str namespace, service, operation, backend
    cdef uint64_t statuses[STATUSES]
    cdef readonly int64_t running       # calls that have begun and are not recorded yet
    cdef readonly Histogram latency
    cdef void record(self, int status, int64_t elapsed_ns) noexcept
