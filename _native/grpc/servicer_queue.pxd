"""Calls that wait for the event loop to begin them in Python, bounded by the time that they will wait."""
from libc.stdint cimport int64_t


cdef class CostMeter:
    """What a call of one method costs the loop, from its begin to its first wait; an average that follows."""
    cdef double ns, last_ns
    cdef int samples
    cdef void sample(self, double ns) noexcept


cdef class QueuedCall:
    cdef CostMeter meter
    cdef double queued_ns       # what it counted for when it was queued
    cdef bint given             # to the loop; it has not begun
    # Upcalls: begin it, or do without; answers whether it was begun.
    cdef bint dispatch(self, int64_t now_ns)


cdef class ServicerQueue:
    cdef object loop, calls
    cdef int64_t limit_ns, slice_began_ns, begun_ns
    cdef double waiting_ns, started_ns, stretch, last_stretch
    cdef QueuedCall begun       # whose first step may not be over
    cdef int unbegun            # calls given to the loop that have not taken it
    cdef bint scheduled, slicing

    cdef bint admits(self, CostMeter meter, int64_t left_ns) noexcept
    cdef void add(self, QueuedCall call, int64_t now_ns)
    cdef bint give(self, QueuedCall call, int64_t now_ns)
    cdef void schedule(self) noexcept
    cdef void begins(self, QueuedCall call) noexcept
    cdef void ends(self, QueuedCall call) noexcept
