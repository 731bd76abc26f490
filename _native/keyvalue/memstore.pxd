"""What the native handlers of key-value interfaces share, whatever store they serve."""
from libc.stdint cimport uint8_t

from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport proto_bytes_t
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute
from prism_proxy._native.memstore.store cimport blob_t
from prism_proxy._native.slots.permitted cimport PermittedHandler

cdef enum:
    COPY_BYTES = 8 * 1024       # values up to this size are copied into the reply, larger ones are referenced

cdef int read_request(const uint8_t* data, size_t n, proto_bytes_t* key, proto_bytes_t* value) noexcept nogil


cdef class KeyValueHandler(PermittedHandler):
    cdef void reply_flag(self, ServerStream stream, bint flag) noexcept
    cdef uint8_t* reply_value_head(self, ServerStream stream, size_t inline_bytes, size_t value_bytes,
                                   bint flag) noexcept


cdef class MemoryHandler(KeyValueHandler):
    cdef bint any_values        # serves encrypted namespaces too: it sees no value, or knows their cipher
    cdef void reply_blob(self, ServerStream stream, blob_t* blob, bint flag) noexcept


cdef struct comparison_t:
    proto_bytes_t key, expected, value
    bint is_expected            # the field was there

cdef int read_comparison(const uint8_t* data, size_t n, comparison_t* found, bint with_value) noexcept nogil
