"""The W3C trace context of a call: what its caller sent, and the span that is ours."""
from libc.stdint cimport uint8_t, uint64_t


cdef enum:
    TRACEPARENT_BYTES = 55      # of version 00
    SAMPLED = 1
    RANDOM_ID = 2


cdef struct trace_t:
    uint64_t high, low          # the id of the trace
    uint64_t parent             # the caller's span; 0 where the trace begins here
    uint64_t span               # ours; 0 until somebody asks for it
    int flags                   # those that go on: SAMPLED, RANDOM_ID


cdef bint read_traceparent(const uint8_t* text, size_t n, trace_t* trace) noexcept
cdef void write_trace_id(const trace_t* trace, char* out) noexcept
cdef void write_traceparent(const trace_t* trace, char* out) noexcept
