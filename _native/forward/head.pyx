"""Header blocks on their way between a caller and the owner of its namespace: which fields pass, and which are ours."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from prism_proxy._native.http2.buffers cimport buffer_t
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.call_watch cimport CallWatch
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.http2.session cimport H2_CANCEL, H2_ENHANCE_YOUR_CALM, H2_REFUSED_STREAM
from prism_proxy._native.http2.name_values cimport fixed
from prism_proxy._native.http2.nghttp2 cimport NGHTTP2_NV_FLAG_NO_INDEX, nghttp2_nv
from prism_proxy._native.grpc.request_head cimport equals
from prism_proxy._native.grpc.trace_context cimport TRACEPARENT_BYTES, write_traceparent

cdef enum:
    CANCELLED = 1
    UNKNOWN = 2
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    INTERNAL = 13
    UNAVAILABLE = 14
    H2_INADEQUATE_SECURITY = 12
    OUR_FIELDS = 5


cdef size_t next_field(const uint8_t* head, size_t at, nghttp2_nv* nv) noexcept:
    """The field at `at` of a kept head; where the next one starts."""
    cdef uint32_t lengths[2]
    memcpy(lengths, head + at, 8)
    nv.name = <uint8_t*>head + at + 8
    nv.namelen = lengths[0]
    nv.value = nv.name + lengths[0]
    nv.valuelen = lengths[1]
    nv.flags = 0
    return at + 8 + lengths[0] + lengths[1]


cdef inline bint named(const nghttp2_nv* nv, const char* name, size_t n) noexcept:
    return equals(nv.name, nv.namelen, name, n)


cdef int write_timeout(int64_t ns, char* out) noexcept:
    """The finest `grpc-timeout` that holds the duration in eight digits, into TIMEOUT_BYTES."""
    if ns < 100_000_000:
        return snprintf(out, TIMEOUT_BYTES, "%ldn", <long>(ns if ns > 0 else 0))
    if ns < 100_000_000_000:
        return snprintf(out, TIMEOUT_BYTES, "%ldu", <long>(ns // 1_000))
    if ns < 100_000_000_000_000:
        return snprintf(out, TIMEOUT_BYTES, "%ldm", <long>(ns // 1_000_000))
    return snprintf(out, TIMEOUT_BYTES, "%ldS", <long>min(ns // 1_000_000_000, 99_999_999))


cdef int request_fields(ServerStream caller, nghttp2_nv* nva, written_t* written, bytes peer_token) noexcept:
    """The head of the caller's request as the owner gets it: the number of fields, or -1 when there are too many.

    `peer_token` proves to the owner that this is one of our processes. Where calls are traced, our span replaces the
    caller's, and a tracestate goes on only with the trace it belongs to.
    """
    cdef CallWatch watch = caller.core.watch
    cdef bint traced = watch is not None and watch.traces
    cdef nghttp2_nv nv
    cdef size_t at = 0
    cdef int n = 3
    if traced:
        watch.trace(caller)
    nva[0] = fixed(":method", 7, "POST", 4)
    nva[1] = fixed(":scheme", 7, "http", 4)
    nva[2] = fixed(":path", 5, PyBytes_AS_STRING(caller.method.path), PyBytes_GET_SIZE(caller.method.path))
    # Pseudo fields stand first in every head, so :authority is met before any other field.
    while at < caller.head.length:
        at = next_field(caller.head.data, at, &nv)
        if nv.name[0] == c":":
            if not named(&nv, ":authority", 10):
                continue
        elif named(&nv, "te", 2) or named(&nv, "grpc-timeout", 12):
            continue
        elif traced and (named(&nv, "traceparent", 11) or (
                caller.trace.parent == 0 and named(&nv, "tracestate", 10))):
            continue
        elif named(&nv, "traceparent", 11) or named(&nv, "x-request-id", 12):
            nv.flags = NGHTTP2_NV_FLAG_NO_INDEX     # fresh on each call: they would push others out of the table
        if n == MAX_FIELDS - OUR_FIELDS:
            return -1
        nva[n] = nv
        n += 1
    nva[n] = fixed("te", 2, "trailers", 8)
    nva[n + 1] = fixed("x-prism-forwarded", 17, PyBytes_AS_STRING(peer_token), PyBytes_GET_SIZE(peer_token))
    n += 2
    if traced:
        write_traceparent(&caller.trace, written.traceparent)
        nva[n] = fixed("traceparent", 11, written.traceparent, TRACEPARENT_BYTES)
        nva[n].flags = NGHTTP2_NV_FLAG_NO_INDEX
        n += 1
    if caller.deadline_ns:
        nva[n] = fixed("grpc-timeout", 12, written.timeout,
                       write_timeout(caller.deadline_ns - monotonic_ns(), written.timeout))
        nva[n].flags = NGHTTP2_NV_FLAG_NO_INDEX
        n += 1
    return n


cdef int http_status_code(const nghttp2_nv* status) noexcept:
    """The gRPC status for the HTTP status of a reply that is no gRPC reply."""
    if equals(status.value, status.valuelen, "400", 3):
        return INTERNAL
    if status.valuelen == 3 and (status.value[0] == c"5" or equals(status.value, 3, "429", 3)):
        return UNAVAILABLE
    return UNKNOWN


cdef int reset_status(uint32_t code) noexcept:
    """The gRPC status for the HTTP/2 error code of the owner's reset."""
    if code == H2_CANCEL:
        return CANCELLED
    if code == H2_REFUSED_STREAM:
        return UNAVAILABLE
    if code == H2_ENHANCE_YOUR_CALM:
        return RESOURCE_EXHAUSTED
    return PERMISSION_DENIED if code == H2_INADEQUATE_SECURITY else INTERNAL


cdef int status_number(const nghttp2_nv* status) noexcept:
    """The number in a grpc-status field; UNKNOWN for what is none."""
    cdef int code = 0
    cdef size_t i
    if status.valuelen == 0 or status.valuelen > 2:
        return UNKNOWN
    for i in range(status.valuelen):
        if status.value[i] < c"0" or status.value[i] > c"9":
            return UNKNOWN
        code = code * 10 + (status.value[i] - c"0")
    return code if code <= 16 else UNKNOWN


cdef int reply_fields(const buffer_t* head, nghttp2_nv* nva, int* code, bint* not_owner) noexcept:
    """The head of the owner's reply as the caller gets it: the number of fields, or -1 when there are too many.

    `code` is set when it has a grpc-status, `not_owner` when the owner says that it is none.
    """
    cdef nghttp2_nv nv
    cdef int n = 1
    cdef size_t at = 0
    nva[0] = fixed(":status", 7, "200", 3)
    while at < head.length:
        at = next_field(head.data, at, &nv)
        if nv.name[0] == c":":
            continue
        if named(&nv, "x-prism-not-owner", 17):
            not_owner[0] = True
            continue
        if named(&nv, "grpc-status", 11):
            code[0] = status_number(&nv)
        if n == MAX_FIELDS:
            return -1
        nva[n] = nv
        n += 1
    return n


cdef list trailer_pairs(const buffer_t* head, int* code):
    """The owner's trailers for the caller; None for status 0 alone, which makes no objects."""
    cdef nghttp2_nv nv
    cdef size_t at = next_field(head.data, 0, &nv)
    cdef list pairs
    code[0] = UNKNOWN
    if at == head.length and named(&nv, "grpc-status", 11) and equals(nv.value, nv.valuelen, "0", 1):
        code[0] = 0
        return None
    at = 0
    pairs = []
    while at < head.length:
        at = next_field(head.data, at, &nv)
        if named(&nv, "grpc-status", 11):
            code[0] = status_number(&nv)
        pairs.append(((<char*>nv.name)[:nv.namelen], (<char*>nv.value)[:nv.valuelen]))
    return pairs


cdef list field_pairs(const nghttp2_nv* nva, int n):
    """The same of a head that is the whole reply."""
    return [((<char*>nva[at].name)[:nva[at].namelen], (<char*>nva[at].value)[:nva[at].valuelen]) for at in range(n)]
