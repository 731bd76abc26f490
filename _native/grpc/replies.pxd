"""Messages of a call that goes on, from Python: of its own, or one that many streams send."""
from libc.stdint cimport int64_t

from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.envelope.framed cimport BorrowedMessage, framed_t


cdef class QueuedTotal:
    """Bytes that wait in all queues of a process."""
    cdef readonly int64_t limit
    cdef readonly int64_t used
    cdef readonly int64_t refused       # messages that found it full


cdef class OutputSource:
    """What has more for a stream than its output takes at a time."""
    cdef void pump(self) noexcept
    cdef void gone(self) noexcept


cdef void send_message(ServerStream stream, bytes message, bint compressed) noexcept
cdef void send_borrowed(ServerStream stream, BorrowedMessage message) noexcept
cdef void send_framed(ServerStream stream, framed_t* framed) noexcept
