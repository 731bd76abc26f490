from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from prism_proxy._native.buffers cimport buffer_t
from prism_proxy._native.h2 cimport H2Stream


cdef struct slice_t:
    uint32_t offset
    uint32_t length


cdef inline bint equals(const uint8_t* name, size_t n, const char* literal, size_t literal_length) noexcept:
    return n == literal_length and memcmp(name, literal, n) == 0


cdef class RequestHead(H2Stream):
    cdef buffer_t head          # (name length, value length, name, value) of each field, in order
    cdef int fields
    cdef int64_t header_bytes
    cdef int overflow
    cdef bint trusted, forwarded     # the peer is one of our processes; and it passes a caller's call on
    cdef slice_t path, verb, namespace, timeout, encoding, accept_encoding, request_id, content_type, traceparent

    cdef void classify(self, const uint8_t* name, size_t n, slice_t where) noexcept
    cdef bint encoding_known(self) noexcept
    cdef str header_text(self, slice_t where)
    cdef tuple metadata(self)
