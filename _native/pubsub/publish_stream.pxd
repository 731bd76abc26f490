"""One open PublishStream, whatever takes its messages."""
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.pubsub.in_flight cimport InFlight


cdef class PublishStream(InFlight):
    """It is among the open streams of its route, which end it when this proxy cannot go on with it."""
    cdef object streams
    cdef int64_t answered
    cdef size_t unsent              # bytes of answers in the output, for which the caller lacks credit
    cdef int noted
    cdef bint scheduled, traced
    cdef uint8_t trace[32]
    cdef uint8_t results[10752]     # GROUP * RESULT

    cdef uint8_t* note(self) noexcept
    cdef void noted_one(self) noexcept
    cdef void schedule(self) noexcept
    cdef void send_answers(self) noexcept
    cdef void send_result(self, const uint8_t* response, size_t n) noexcept
    cdef void send(self, const uint8_t* results, size_t size) noexcept
    cdef void give_credit(self) noexcept
    cdef void finish(self) noexcept
    cdef void over(self) noexcept


cdef class PublishStreamHandler(Handler):
    cdef PublishStream open_call(self)
    cdef void give_up(self, ServerStream stream, const uint8_t* data, size_t n) noexcept
