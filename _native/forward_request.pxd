from libc.stdint cimport uint8_t

from prism_proxy._native.buffers cimport chunk_t
from prism_proxy._native.h2 cimport H2Stream


cdef class ForwardRequest(H2Stream):
    cdef chunk_t* kept
    cdef chunk_t* kept_last
    cdef size_t kept_bytes
    cdef bint keep_all                  # however long it is
    cdef bint incomplete                # not all of the request is kept
    cdef uint8_t prefix[5]              # of the message that is passing
    cdef int prefix_length
    cdef size_t message_left

    cdef bint fits(self, const uint8_t* data, size_t n, size_t most) noexcept
    cdef bint append(self, const uint8_t* data, size_t n) noexcept
    cdef bint push_borrowed(self, chunk_t* kept) noexcept
    cdef void push(self, chunk_t* chunk) noexcept
    cdef void take_request(self, ForwardRequest other) noexcept
    cdef void drop_kept(self) noexcept
