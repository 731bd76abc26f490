from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from prism_proxy._native.http2.buffers cimport buffer_t
from prism_proxy._native.http2.session cimport H2Stream
from prism_proxy._native.grpc.trace_context cimport trace_t


cdef struct slice_t:
    uint32_t offset
    uint32_t length


cdef enum:
    BY_PROXY = 1    # how far a forwarded call has come: a worker may take it to another of its proxy,
    BY_WORKER = 2   # and that is the end of the way


cdef struct peer_trust_t:   # what a connection is believed when it says that it passes on a caller's call
    int level           # BY_PROXY, BY_WORKER, or 0: nothing, unless it shows the peer_token
    const char* peer_token   # what makes it BY_PROXY, or NULL
    size_t peer_token_length
    bint token_shown         # it has been shown


cdef inline int forwarding_level(peer_trust_t* peer_trust, const uint8_t* shown, size_t n) noexcept:
    """How far the call of a peer that shows these bytes has come. Takes as long whatever bytes are wrong."""
    cdef uint8_t differ = 0
    cdef size_t i
    if peer_trust.peer_token == NULL or peer_trust.level or n != peer_trust.peer_token_length:
        return peer_trust.level
    for i in range(n):
        differ |= shown[i] ^ <uint8_t>peer_trust.peer_token[i]
    if differ:
        return 0
    peer_trust.token_shown = True
    return BY_PROXY


cdef inline bint equals(const uint8_t* name, size_t n, const char* literal, size_t literal_length) noexcept:
    return n == literal_length and memcmp(name, literal, n) == 0


cdef inline bint is_grpc(const uint8_t* content_type, size_t n) noexcept:
    """Whether a content type is that of gRPC with protobuf messages, the only ones spoken here."""
    if n < 16 or memcmp(content_type, b"application/grpc", 16) != 0:
        return False
    if n >= 22 and memcmp(content_type + 16, b"+proto", 6) == 0:
        return n == 22 or content_type[22] == b";"
    return n == 16 or content_type[16] == b";"


cdef class RequestHead(H2Stream):
    cdef buffer_t head          # (name length, value length, name, value) of each field, in order
    cdef int fields
    cdef int64_t header_bytes
    cdef int overflow
    cdef peer_trust_t* peer_trust       # of the connection
    cdef int forwarded          # how far the call has come: 0, BY_PROXY or BY_WORKER
    cdef slice_t path, verb, namespace, timeout, encoding, accept_encoding, request_id, content_type, traceparent
    cdef int traceparents       # more than one continue nothing
    cdef trace_t trace          # filled by `CallWatch.trace`, where calls are traced

    cdef void classify(self, const uint8_t* name, size_t n, slice_t where) noexcept
    cdef bint encoding_known(self) noexcept
    cdef str header_text(self, slice_t where)
    cdef tuple metadata(self)
