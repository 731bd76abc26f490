"""Messages of a call that goes on, from Python: of its own, or one that many streams send."""
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.envelope.framed cimport framed_t


cdef void send_message(ServerStream stream, bytes message, bint compressed) noexcept
cdef void send_framed(ServerStream stream, framed_t* framed) noexcept
