"""The bounded queue in front of a stream that lasts: what its reader does not take yet."""
from libc.stdint cimport int64_t

from prism_proxy._native.envelope.framed cimport framed_t
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.replies cimport OutputSource, QueuedTotal


cdef enum:
    NEVER_MS = 0


cdef enum policy_t:             # what happens when the queue is full
    BLOCK, DROP, DISCONNECT


cdef struct waiting_t:
    framed_t* message
    int64_t expires_ms


cdef class OutletCounters:
    """Of the subscriptions of one namespace."""
    cdef public int64_t published, delivered, dropped, missed, expired


cdef class Outlet(OutputSource):
    cdef object __weakref__
    cdef ServerStream stream
    cdef readonly OutletCounters counters
    cdef QueuedTotal total
    cdef object slow, error, finishing
    cdef list roomless
    cdef waiting_t* ring
    cdef size_t capacity, first, count, most
    cdef readonly int64_t queued_bytes
    cdef int64_t most_bytes
    cdef readonly int64_t delivered
    cdef int64_t last                   # end with this many delivered; 0: never
    cdef policy_t policy
    cdef bint started
    cdef readonly bint ended

    cdef bint is_full(self) noexcept
    cdef bint blocks(self) noexcept
    cdef bint push_framed(self, framed_t* message, int64_t expires_ms) noexcept
    cdef void send(self, framed_t* message) noexcept
    cdef bint grow(self) noexcept
    cdef bint overflow(self) noexcept
    cdef void append(self, framed_t* message, int64_t expires_ms) noexcept
    cdef void end_with(self, slow, size_t messages, int64_t size) noexcept
    cdef void pop(self) noexcept
    cdef void discard(self) noexcept
    cdef void settle(self) noexcept
