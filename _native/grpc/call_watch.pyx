"""Decides at the end of a call whether anybody wants to hear of it: failures, slow calls, a sampled parent, a share.

The decision is made where the call ends, for only there it is known whether it failed or was slow; a call nobody wants
to hear of makes no Python object. Reports are bounded in number, so that a flood of failures cannot become a flood of
work: `unheard` counts those beyond.

Whether an ordinary call is in the share follows from the id of its trace, by the rule of OpenTelemetry's
TraceIdRatioBased: so it is known when the call is passed on, and all processes with one share decide alike.
"""
import os
import time

from libc.stdint cimport int64_t, uint32_t, uint64_t

from prism_proxy._native.grpc.metrics cimport MethodStats
from prism_proxy._native.grpc.request_head cimport RequestHead
from prism_proxy._native.grpc.trace_context cimport SAMPLED, read_traceparent


cdef class CallWatch:
    """`report(call)` is given an `EndedCall`; at most `reports_per_s` of them. `audit(call)` is given every one of a
    namespace.

    `statuses` are gRPC numbers, `slow_s` 0 is never. `traces` gives calls a span of ours, includes those of a sampled
    parent and a `share` of the others, and asks servicers' contexts to keep their `spans`.
    """

    def __init__(self, report, statuses, *, double slow_s=0, bint traces=False, double share=0,
                 int reports_per_s=1000, audit=None):
        self.report = report
        self.audit = audit
        for status in statuses:
            self.statuses |= 1u << <uint32_t>status
        self.slow_ns = <int64_t>(slow_s * 1e9) if slow_s > 0 else 0x7FFFFFFFFFFFFFFF
        self.traces = traces
        bound = round(share * 2**64)
        self.draws = bound > 0
        self.highest = max(bound - 1, 0)
        self.seed[0] = int.from_bytes(os.urandom(8), "little") | 1
        self.seed[1] = int.from_bytes(os.urandom(8), "little")
        self.report_cost_ns = 1_000_000_000 // reports_per_s
        self.budget_ns = 1_000_000_000

    cdef uint64_t draw(self) noexcept:
        """A random number, but 0, by xorshift128+: even, cheap, and nothing that must not be foreseen."""
        cdef uint64_t x = self.seed[0]
        cdef uint64_t y = self.seed[1]
        self.seed[0] = y
        x ^= x << 23
        self.seed[1] = x ^ y ^ (x >> 17) ^ (y >> 26)
        return (self.seed[1] + y) or 1

    cdef void trace(self, RequestHead head) noexcept:
        """Give the call its span: in the caller's trace, or in a new one when it sent none, a malformed one or two."""
        if head.trace.span:
            return
        if head.traceparents != 1 or not read_traceparent(
                head.head.data + head.traceparent.offset, head.traceparent.length, &head.trace):
            head.trace.high = self.draw()
            head.trace.low = self.draw()
            head.trace.parent = 0
            head.trace.flags = 0
        head.trace.span = self.draw()
        if self.draws and head.trace.low <= self.highest:
            head.trace.flags |= SAMPLED

    cdef void ended(self, RequestHead head, MethodStats stats, object call, list trailers, int code,
                    int64_t elapsed_ns, int64_t now_ns) noexcept:
        if self.traces:
            self.trace(head)
        cdef bint wanted = self.statuses >> code & 1 or elapsed_ns > self.slow_ns or head.trace.flags & SAMPLED
        cdef object told = None
        if self.audit is not None and stats.namespace:
            told = self.told(head, stats, call, trailers, code, elapsed_ns)
            self.audited(head, told)
        if not wanted:
            return
        self.budget_ns = min(self.budget_ns + now_ns - self.refilled_ns, 1_000_000_000)
        self.refilled_ns = now_ns
        if self.budget_ns < self.report_cost_ns:
            self.unheard += 1
            return
        self.budget_ns -= self.report_cost_ns
        try:
            self.report(told if told is not None else self.told(head, stats, call, trailers, code, elapsed_ns))
        except Exception as error:
            head.session.loop.call_exception_handler({"message": "a call could not be reported", "exception": error})

    cdef object told(self, RequestHead head, MethodStats stats, object call, list trailers, int code,
                     int64_t elapsed_ns):
        return EndedCall(stats, code, elapsed_ns, head.metadata(), getattr(head.session, "peer", ""),
                         getattr(call, "spans", None) or (), trace_ids(head), getattr(call, "streaming", False),
                         tuple(trailers or ()), getattr(head.session, "ssl_object", None))

    cdef void audited(self, RequestHead head, object call) noexcept:
        try:
            self.audit(call)
        except Exception as error:
            head.session.loop.call_exception_handler({"message": "a call could not be audited", "exception": error})


cdef object trace_ids(RequestHead head):
    """(trace, span, parent) as numbers; parent is 0 where the trace begins here. None while the call has no span."""
    if not head.trace.span:
        return None
    return <object>head.trace.high << 64 | head.trace.low, head.trace.span, head.trace.parent


class EndedCall:
    """The report of a call. `ended_ns` is Unix time; `spans` are (name, began_ns, ended_ns, attributes, error) tuples
    on the same clock; `trace` as of `trace_ids`; `streaming` is known of servicers' calls only; `trailers` are the
    (name, value) pairs of the reply as they go out, whose `-bin` values are base64. `connection` is the ssl.SSLObject,
    None in cleartext."""

    __slots__ = ("backend", "code", "connection", "elapsed_ns", "ended_ns", "metadata", "namespace", "operation",
                 "peer", "service", "spans", "streaming", "trace", "trailers")

    def __init__(self, stats, code, elapsed_ns, metadata, peer, spans, trace=None, streaming=False,
                 trailers=(), connection=None):
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
        self.trace = trace
        self.streaming = streaming
        self.trailers = trailers
        self.connection = connection
