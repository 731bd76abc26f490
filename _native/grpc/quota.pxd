"""Rate and load limits of namespaces, over all workers of a proxy."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "grpc/quota.h" nogil:
    enum:
        QUOTA_ADMITTED, QUOTA_RATE, QUOTA_CALLS, QUOTA_BYTES, QUOTA_DIMENSIONS, QUOTA_NAME_BYTES
    const uint64_t QUOTA_MAGIC
    ctypedef struct quota_number_t:
        pass
    ctypedef struct quota_cell_t:
        quota_number_t calls, bytes, late, attached
        quota_number_t refused[QUOTA_DIMENSIONS]
        quota_number_t refused_ns[QUOTA_DIMENSIONS]
    ctypedef struct quota_slot_t:
        quota_number_t full_ns
        quota_cell_t cells[1]
    ctypedef struct quota_head_t:
        uint64_t magic
        uint32_t cell_bytes, workers, slots, used
    ctypedef struct quota_t:
        quota_slot_t* slot
        quota_cell_t* own
        uint32_t workers
        int64_t interval_ns, tolerance_ns, calls, bytes
    size_t quota_page_bytes(uint32_t workers, uint32_t slots)
    int64_t quota_load(quota_number_t* number)
    int64_t quota_sum(const quota_t* quota, quota_number_t* own)
    int quota_take(const quota_t* quota, quota_number_t* own, int64_t n, int64_t limit)
    void quota_give(quota_number_t* own, int64_t n)
    int quota_enter(const quota_t* quota, int64_t now_ns)
    void quota_count_refusal(quota_cell_t* own, int dimension, int64_t now_ns)
    double quota_arrival_rate(const quota_cell_t* cell, int64_t now_ns)
    double quota_refusal_rate(const quota_cell_t* cell, int64_t now_ns)
    void quota_forget(quota_head_t* head, uint32_t worker)
    quota_slot_t* quota_find(quota_head_t* head, const char* name, uint32_t length)


cdef enum:
    # How a call is refused; the first four are the dimensions of quota.h.
    ADMITTED, RATE_EXCEEDED, TOO_MANY_CALLS, TOO_MANY_BYTES
    STREAM_BYTES        # a stream that has begun: its outcome is unknown
    MESSAGE_NEVER_FITS  # one message larger than the limit
    REFUSALS


cdef class SharedQuotaTable:
    cdef readonly int fd
    cdef readonly uint32_t worker
    cdef quota_head_t* head
    cdef size_t size


cdef class NamespaceQuota:
    """The limits of one namespace, as this worker applies them."""
    cdef quota_t limits
    cdef SharedQuotaTable page
    cdef readonly str namespace
    cdef object explain
    cdef list trailers              # of each kind of refusal, as they go out, in some variants
    cdef uint64_t answered          # with trailers that were kept
    cdef int64_t stale_ns[REFUSALS]
    cdef int64_t late

    cdef inline int enter(self, int64_t now_ns) noexcept:
        """Admit a call, which then owes `leave`; or how it is refused."""
        return quota_enter(&self.limits, now_ns)

    cdef inline int account(self, int64_t* held, int64_t n, int64_t announced, bint streaming) noexcept:
        """Let a call hold `n` request bytes instead of `held`, of a message of `announced`; or how that is refused."""
        if n <= held[0]:
            quota_give(&self.limits.own.bytes, held[0] - n)
        elif not quota_take(&self.limits, &self.limits.own.bytes, n - held[0], self.limits.bytes):
            if streaming:
                return STREAM_BYTES
            return TOO_MANY_BYTES if max(n, announced) <= self.limits.bytes else MESSAGE_NEVER_FITS
        held[0] = n
        return ADMITTED

    cdef inline void leave(self, int64_t held) noexcept:
        """The call is over; `held` are the bytes it still had."""
        quota_give(&self.limits.own.calls, 1)
        quota_give(&self.limits.own.bytes, held)

    cdef list encode(self, int kind, int64_t now_ns, object describe)
    cdef list refusal(self, int kind, int64_t now_ns, object describe)
