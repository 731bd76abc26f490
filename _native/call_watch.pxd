"""Decides at the end of a call whether anybody wants to hear of it. Most calls cost two comparisons."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from prism_proxy._native.metrics cimport MethodStats
from prism_proxy._native.request_head cimport RequestHead


cdef class CallWatch:
    cdef object report
    cdef int64_t slow_ns
    cdef uint32_t statuses      # a bit for each status that is reported whatever else
    cdef uint32_t share         # of 2**32 calls that are drawn
    cdef bint parents           # whether calls of a sampled parent are reported
    cdef readonly bint spans    # whether servicers' calls keep what happens within them
    cdef uint64_t draw
    cdef int64_t budget_ns, refilled_ns, report_cost_ns
    cdef readonly uint64_t unheard
    cdef bint sampled(self, RequestHead head) noexcept
    cdef void ended(self, RequestHead head, MethodStats stats, object call, int code, int64_t elapsed_ns,
                    int64_t now_ns) noexcept
