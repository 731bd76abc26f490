"""The header fields of a request: kept in one buffer, the ones that steer the call found by name, within limits."""
cimport cython
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from prism_proxy._native.http2.buffers cimport buffer_append, buffer_free, buffer_reserve
from prism_proxy._native.http2.session cimport H2Stream
from prism_proxy._native.http2.limits cimport HEADER_FIELDS, HEADER_LIST, NativeLimits
from prism_proxy._native.grpc.wire cimport metadata_pair

cdef enum:
    HARD_OVERFLOW = 4          # a header list this many times over its limit costs the connection


@cython.no_gc
cdef class RequestHead(H2Stream):
    """A stream while, and after, its request head arrives."""

    def __dealloc__(self):
        buffer_free(&self.head)

    cdef int on_header(self, const uint8_t* name, size_t name_length, const uint8_t* value,
                       size_t value_length) noexcept:
        """Keep a field, unless the list is over its limits; far over, the connection pays (an HPACK bomb)."""
        cdef NativeLimits limits = self.session.limits
        cdef slice_t where
        cdef uint32_t lengths[2]
        self.header_bytes += name_length + value_length + 32
        self.fields += 1
        if self.header_bytes > limits.header_list_bytes or self.fields > limits.header_fields:
            if self.overflow == 0:
                self.overflow = HEADER_LIST if self.header_bytes > limits.header_list_bytes else HEADER_FIELDS
                limits.hits[self.overflow] += 1
            if self.header_bytes > HARD_OVERFLOW * limits.header_list_bytes:
                return HEADER_LIST
            return 0
        lengths[0] = <uint32_t>name_length
        lengths[1] = <uint32_t>value_length
        if self.head.capacity == 0:
            buffer_reserve(&self.head, 512)
        if buffer_append(&self.head, lengths, 8) or buffer_append(&self.head, name, name_length):
            return HEADER_LIST
        where.offset = <uint32_t>self.head.length
        where.length = <uint32_t>value_length
        if buffer_append(&self.head, value, value_length):
            return HEADER_LIST
        self.classify(name, name_length, where)
        return 0

    cdef void classify(self, const uint8_t* name, size_t n, slice_t where) noexcept:
        if n == 5 and equals(name, n, ":path", 5):
            self.path = where
        elif n == 7 and equals(name, n, ":method", 7):
            self.verb = where
        elif n == 11:
            if equals(name, n, "x-namespace", 11):
                self.namespace = where
            elif equals(name, n, "traceparent", 11):
                self.traceparent = where
                self.traceparents += 1
        elif n == 12:
            if equals(name, n, "content-type", 12):
                self.content_type = where
            elif equals(name, n, "grpc-timeout", 12):
                self.timeout = where
            elif equals(name, n, "x-request-id", 12):
                self.request_id = where
        elif n == 13 and equals(name, n, "grpc-encoding", 13):
            self.encoding = where
        elif n == 17 and equals(name, n, "x-prism-forwarded", 17):
            self.forwarded = forwarding_level(self.peer_trust, self.head.data + where.offset, where.length)
            self.head.length = where.offset - n - 8     # only our own processes may say so, and nobody else reads it
        elif n == 20 and equals(name, n, "grpc-accept-encoding", 20):
            self.accept_encoding = where

    cdef str header_text(self, slice_t where):
        return (<char*>self.head.data + where.offset)[:where.length].decode("latin-1")

    cdef tuple metadata(self):
        """The caller's metadata, as grpcio shows it to servicers."""
        cdef size_t at = 0
        cdef uint32_t lengths[2]
        cdef list out = []
        while at < self.head.length:
            memcpy(lengths, self.head.data + at, 8)
            at += 8
            pair = metadata_pair(self.head.data + at, lengths[0], self.head.data + at + lengths[0], lengths[1])
            if pair is not None:
                out.append(pair)
            at += lengths[0] + lengths[1]
        return tuple(out)

    cdef bint encoding_known(self) noexcept:
        cdef const uint8_t* name = self.head.data + self.encoding.offset
        return (equals(name, self.encoding.length, "gzip", 4) or equals(name, self.encoding.length, "identity", 8)
                or equals(name, self.encoding.length, "deflate", 7))
