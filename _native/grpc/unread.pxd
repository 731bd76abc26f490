"""Request messages of a stream that its servicer has not read yet."""
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.http2.buffers cimport buffer_t


cdef class UnreadMessages:
    cdef buffer_t small         # (length, message) of each; one buffer, as they may be tiny
    cdef size_t start
    cdef object large           # those that are objects of their own, in their order
    cdef int64_t held           # bytes of memory

    cdef bint keep(self, const uint8_t* data, size_t n) noexcept
    cdef bint empty(self) noexcept
    cdef bytes take(self)
    cdef void drop(self) noexcept
