"""Decides at the end of a call whether anybody wants to hear of it: failures, slow calls, a sampled parent, a share.

The decision is made where the call ends, for only there it is known whether it failed or was slow; a call nobody wants
to hear of makes no Python object. Reports are bounded in number, so that a flood of failures cannot become a flood of
work: `unheard` counts those beyond.
"""
import time

from libc.stdint cimport int64_t, uint32_t, uint64_t

from prism_proxy._native.metrics cimport MethodStats
from prism_proxy._native.request_head cimport RequestHead

cdef enum:
    TRACEPARENT = 55    # its length in version 00; the flags are its last two digits
    SAMPLED_DIGIT = 54


cdef class CallWatch:
    """`report(call)` is given an `EndedCall`; at most `reports_per_s` of them.

    `statuses` are gRPC numbers, `slow_s` 0 is never, `share` is the part of all calls that is drawn, `parents` includes
    calls whose traceparent is sampled, `spans` asks servicers' contexts to keep their `spans`.
    """

    def __init__(self, report, statuses, *, double slow_s=0, double share=0, bint parents=False, bint spans=False,
                 int reports_per_s=1000):
        self.report = report
        for status in statuses:
            self.statuses |= 1u << <uint32_t>status
        self.slow_ns = <int64_t>(slow_s * 1e9) if slow_s > 0 else 0x7FFFFFFFFFFFFFFF
        self.share = <uint32_t>min(share * 4294967296.0, 4294967295.0)
        self.parents = parents
        self.spans = spans
        self.draw = <uint64_t>time.time_ns() | 1
        self.report_cost_ns = 1_000_000_000 // reports_per_s
        self.budget_ns = 1_000_000_000

    cdef bint sampled(self, RequestHead head) noexcept:
        return head.traceparent.length >= TRACEPARENT and (
            head.head.data[head.traceparent.offset + SAMPLED_DIGIT] in b"13579bdf")

    cdef void ended(self, RequestHead head, MethodStats stats, object call, int code, int64_t elapsed_ns,
                    int64_t now_ns) noexcept:
        if not (self.statuses >> code & 1 or elapsed_ns > self.slow_ns or (self.parents and self.sampled(head))):
            if not self.share:
                return
            self.draw ^= self.draw << 13        # xorshift: even, cheap, and nothing that must not be foreseen
            self.draw ^= self.draw >> 7
            self.draw ^= self.draw << 17
            if <uint32_t>(self.draw >> 32) >= self.share:
                return
        self.budget_ns = min(self.budget_ns + now_ns - self.refilled_ns, 1_000_000_000)
        self.refilled_ns = now_ns
        if self.budget_ns < self.report_cost_ns:
            self.unheard += 1
            return
        self.budget_ns -= self.report_cost_ns
        try:
            self.report(EndedCall(stats, code, elapsed_ns, head.metadata(), getattr(head.session, "peer", ""),
                                  getattr(call, "spans", None) or ()))
        except Exception as error:
            head.session.loop.call_exception_handler({"message": "a call could not be reported", "exception": error})


class EndedCall:
    """What is told of a call. `ended_ns` is Unix time; `spans` are (name, began_ns, ended_ns, attributes, error) tuples
    on the same clock."""

    __slots__ = ("backend", "code", "elapsed_ns", "ended_ns", "metadata", "namespace", "operation", "peer", "service",
                 "spans")

    def __init__(self, stats, code, elapsed_ns, metadata, peer, spans):
        self.namespace = stats.namespace
        self.service = stats.service
        self.operation = stats.operation
        self.backend = stats.backend
        self.code = code
        self.elapsed_ns = elapsed_ns
        self.ended_ns = time.time_ns()
        self.metadata = metadata
        self.peer = peer
        self.spans = spans
