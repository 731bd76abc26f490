"""Rate and load limits of namespaces, over all workers of a proxy."""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "gate.h" nogil:
    enum:
        GATE_ADMITTED, GATE_RATE, GATE_CALLS, GATE_BYTES, GATE_DIMENSIONS, GATE_NAME_BYTES
    const uint64_t GATE_MAGIC
    ctypedef struct gate_number_t:
        pass
    ctypedef struct gate_cell_t:
        gate_number_t calls, bytes, late, attached
        gate_number_t refused[GATE_DIMENSIONS]
        gate_number_t refused_ns[GATE_DIMENSIONS]
    ctypedef struct gate_slot_t:
        gate_number_t full_ns
        gate_cell_t cells[1]
    ctypedef struct gate_head_t:
        uint64_t magic
        uint32_t cell_bytes, workers, slots, used
    ctypedef struct gate_t:
        gate_slot_t* slot
        gate_cell_t* own
        uint32_t workers
        int64_t interval_ns, tolerance_ns, calls, bytes
    size_t gate_page_bytes(uint32_t workers, uint32_t slots)
    int64_t gate_load(gate_number_t* number)
    int64_t gate_sum(const gate_t* gate, gate_number_t* own)
    int gate_take(const gate_t* gate, gate_number_t* own, int64_t n, int64_t limit)
    void gate_give(gate_number_t* own, int64_t n)
    int gate_enter(const gate_t* gate, int64_t now_ns)
    void gate_count_refusal(gate_cell_t* own, int dimension, int64_t now_ns)
    double gate_arrival_rate(const gate_cell_t* cell, int64_t now_ns)
    double gate_refusal_rate(const gate_cell_t* cell, int64_t now_ns)
    void gate_forget(gate_head_t* head, uint32_t worker)
    gate_slot_t* gate_find(gate_head_t* head, const char* name, uint32_t length)


cdef enum:
    # How a call is refused; the first four are the dimensions of gate.h.
    ADMITTED, TOO_FAST, TOO_MANY_CALLS, TOO_MANY_BYTES
    STREAM_BYTES        # a stream that has begun: its outcome is unknown
    MESSAGE_NEVER_FITS  # one message larger than the limit
    REFUSALS


cdef class GatePage:
    cdef readonly int fd
    cdef readonly uint32_t worker
    cdef gate_head_t* head
    cdef size_t size


cdef class Gate:
    """The limits of one namespace, as this worker applies them."""
    cdef gate_t limits
    cdef GatePage page
    cdef readonly str namespace
    cdef object explain
    cdef list trailers              # of each kind of refusal, as they go out, in some variants
    cdef uint64_t answered          # with trailers that were kept
    cdef int64_t stale_ns[REFUSALS]
    cdef int64_t late

    cdef inline int enter(self, int64_t now_ns) noexcept:
        """Admit a call, which then owes `leave`; or how it is refused."""
        return gate_enter(&self.limits, now_ns)

    cdef inline int hold(self, int64_t* held, int64_t n, int64_t announced, bint streaming) noexcept:
        """Let a call hold `n` request bytes instead of `held`, of a message of `announced`; or how that is refused."""
        if n <= held[0]:
            gate_give(&self.limits.own.bytes, held[0] - n)
        elif not gate_take(&self.limits, &self.limits.own.bytes, n - held[0], self.limits.bytes):
            if streaming:
                return STREAM_BYTES
            return TOO_MANY_BYTES if max(n, announced) <= self.limits.bytes else MESSAGE_NEVER_FITS
        held[0] = n
        return ADMITTED

    cdef inline void leave(self, int64_t held) noexcept:
        """The call is over; `held` are the bytes it still had."""
        gate_give(&self.limits.own.calls, 1)
        gate_give(&self.limits.own.bytes, held)

    cdef list encode(self, int kind, int64_t now_ns, object describe)
    cdef list refusal(self, int kind, int64_t now_ns, object describe)
