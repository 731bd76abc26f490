from libc.stdint cimport uint8_t, uint32_t

from prism_proxy._native.http2.buffers cimport buffer_t
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.http2.nghttp2 cimport nghttp2_nv
from prism_proxy._native.grpc.trace_context cimport TRACEPARENT_BYTES

cdef enum:
    MAX_FIELDS = 160            # of a header block: header_fields allows 128 by default, and a few are ours
    TIMEOUT_BYTES = 16

cdef size_t next_field(const uint8_t* head, size_t at, nghttp2_nv* nv) noexcept
cdef struct written_t:      # values of fields that are ours, until the head is submitted
    char timeout[TIMEOUT_BYTES]
    char traceparent[TRACEPARENT_BYTES]

cdef int request_fields(ServerStream caller, nghttp2_nv* nva, written_t* written, bytes peer_token) noexcept
cdef int reply_fields(const buffer_t* head, nghttp2_nv* nva, int* code, bint* not_owner) noexcept
cdef list trailer_pairs(const buffer_t* head, int* code)
cdef list field_pairs(const nghttp2_nv* nva, int n)
cdef int http_status_code(const nghttp2_nv* status) noexcept
cdef int reset_status(uint32_t code) noexcept
