from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.http2.buffers cimport buffer_t

cdef enum:
    INFLATE_OK = 0
    INFLATE_CORRUPT = -1
    INFLATE_TOO_LARGE = -2

cdef int64_t parse_timeout(const uint8_t* text, size_t n) noexcept nogil
cdef int inflate_message(const uint8_t* data, size_t n, size_t cap, buffer_t* out) noexcept nogil
cdef bytes decode_binary(bytes text)
cdef object metadata_pair(const uint8_t* name, size_t name_length, const uint8_t* value, size_t value_length)
cdef list encode_metadata(object metadata)
cdef tuple checked_metadata(object metadata)
