"""Handlers of calls that need a permit."""
from libc.stdint cimport uint8_t

from prism_proxy._native.grpc.call cimport Handler, ServerStream


cdef class PermittedHandler(Handler):
    # Upcall: begin a call that has its permit, which goes back when it ends; -1 when the servicer must serve it,
    # without that permit.
    cdef int call(self, ServerStream stream, const uint8_t* data, size_t n) noexcept
    cdef void wait(self, ServerStream stream, const uint8_t* data, size_t n) noexcept
    cdef void fail_shed(self, ServerStream stream) noexcept
