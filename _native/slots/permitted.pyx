"""Native handlers whose calls share permits with those of servicers, and wait in the same queue: here, because a
servicer costs ten times as much, and a moment with more calls than the backend may have would become one in which the
proxy is too slow for them.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.slots.concurrency_limiter cimport ConcurrencyCore


cdef class PermittedCall:
    """A call in the queue, as `ConcurrencyLimiter` has them: what a Future is to a servicer."""
    cdef ServerStream stream
    cdef bytes request

    def done(self) -> bool:
        """Whether its caller has gone, or its deadline ended it."""
        return self.stream.answered or self.stream.session is None

    def set_result(self, bint permit) -> None:
        cdef ServerStream stream = self.stream
        cdef PermittedHandler handler = <PermittedHandler>stream.handler
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(self.request)
        cdef size_t n = PyBytes_GET_SIZE(self.request)
        stream.account(-<int64_t>n)
        if stream.deadline_timer is not None:
            stream.deadline_timer.cancel()
            stream.deadline_timer = None
        if not permit:
            handler.fail_shed(stream)
        elif handler.call(stream, data, n):
            stream.binding.limiter.permit_returned()      # the limiter that gave the permit looks for free ones itself
            stream.handler_finished()
            handler.fall_back(stream, data, n)
            stream.handler.on_end(stream)

    def deadline_reached(self) -> None:
        self.stream.deadline_passed()


cdef class PermittedHandler(Handler):
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef ConcurrencyCore limiter = stream.binding.limiter
        if limiter is not None and not limiter.enter():
            self.wait(stream, data, n)
        elif self.call(stream, data, n):
            if limiter is not None:
                limiter.leave()
            self.fall_back(stream, data, n)

    cdef void wait(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        """Let the call stand in the queue, unless the line is full."""
        cdef PermittedCall waiting = PermittedCall.__new__(PermittedCall)
        waiting.stream = stream
        waiting.request = PyBytes_FromStringAndSize(<const char*>data, n)
        if not stream.binding.limiter.join(waiting):
            self.fail_shed(stream)
            return
        stream.handler_started()
        stream.account(n)
        if stream.deadline_ns:
            stream.deadline_timer = stream.core.loop.call_later(
                max(0, stream.deadline_ns - monotonic_ns()) / 1e9, waiting.deadline_reached)

    cdef int call(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        return -1

    cdef void fail_shed(self, ServerStream stream) noexcept:
        stream.end_with(8, stream.binding.limiter.refusal_trailers(
            stream.method.operation, stream.session.now_ns, stream.core.describe_error))
        stream.handler_finished()
