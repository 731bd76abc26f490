"""Decides at the end of a call whether anybody wants to hear of it. Most calls cost two comparisons."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from prism_proxy._native.grpc.metrics cimport MethodStats
from prism_proxy._native.grpc.request_head cimport RequestHead


cdef class CallWatch:
    cdef object report
    cdef object audit           # is given every call of a namespace, or None
    cdef int64_t slow_ns
    cdef uint32_t statuses      # a bit for each status that is reported whatever else
    cdef readonly bint traces   # whether calls have a span of ours, and sampled ones are reported
    cdef bint draws             # whether a share of the calls of unsampled parents, or of none, is sampled
    cdef uint64_t highest       # id of a trace, by its low half, that is in the share
    cdef uint64_t seed[2]
    cdef int64_t budget_ns, refilled_ns, report_cost_ns
    cdef readonly uint64_t unheard
    cdef uint64_t draw(self) noexcept
    cdef void trace(self, RequestHead head) noexcept
    cdef void ended(self, RequestHead head, MethodStats stats, object call, list trailers, int code,
                    int64_t elapsed_ns, int64_t now_ns) noexcept
    cdef object told(self, RequestHead head, MethodStats stats, object call, list trailers, int code,
                     int64_t elapsed_ns)
    cdef void audited(self, RequestHead head, object call) noexcept


cdef object trace_ids(RequestHead head)
