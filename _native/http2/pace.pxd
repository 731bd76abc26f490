"""The pace of a transfer, measured over windows of time, so that a byte now and then is no progress."""
from libc.stdint cimport int64_t, uint64_t


cdef struct pace_t:
    int64_t since_ns        # when the window began; 0: nothing is being transferred
    uint64_t bytes          # transferred before it began
    int64_t expected        # within it


cdef inline bint too_slow(pace_t* pace, int64_t now, uint64_t bytes, int64_t window_ns, int64_t expected) noexcept:
    """Whether less than what was expected at its start has been transferred in a window that is over; `bytes` were
    transferred in all, and `expected` counts for the next one."""
    cdef bint slow = False
    if pace.since_ns and now - pace.since_ns < window_ns:
        return False
    if pace.since_ns:
        slow = <int64_t>(bytes - pace.bytes) < pace.expected
    pace.since_ns = now
    pace.bytes = bytes
    pace.expected = expected
    return slow
