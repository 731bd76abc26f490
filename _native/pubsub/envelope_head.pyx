"""The envelope of a published message, all but its payload, as the model would write it."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from prism_proxy._native.envelope.codec cimport Writer, envelope_put_bytes, head_t
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.trace_context cimport TRACEPARENT_BYTES
from prism_proxy._native.pubsub.publish cimport message_extensions, publish_request_t, trace_of
from prism_proxy._native.schema.check cimport DeclaredSchema


cdef size_t envelope_head(ServerStream stream, Writer writer, const publish_request_t* request,
                          DeclaredSchema declared, const uint8_t* message_id, int64_t now, uint8_t* out) noexcept:
    """Write all of an envelope but its payload; its length, or 0 when there is too much of it."""
    cdef uint8_t parts[MAX_PARTS]
    cdef uint8_t* at = put_trace(stream, parts)
    cdef head_t head
    if declared is not None:
        memcpy(at, PyBytes_AS_STRING(declared.context), PyBytes_GET_SIZE(declared.context))
        at += PyBytes_GET_SIZE(declared.context)
    at = message_extensions(request, at, parts + MAX_PARTS)
    if at == NULL:
        return 0
    writer.measure(&head, now, 0, at - parts, 0, request.payload.length)
    return writer.put(out, &head, message_id, parts, 0, parts, at - parts, parts, 0, request.payload.length) - out


cdef uint8_t* put_trace(ServerStream stream, uint8_t* out) noexcept:
    """The observability of an envelope, where the caller continues a trace: trace_id, span_id, trace_flags."""
    cdef uint8_t text[32]
    cdef const uint8_t* parent = stream.head.data + stream.traceparent.offset
    cdef int flags
    if not trace_of(stream, text):
        return out
    while parent[0] == c" " or parent[0] == c"\t":
        parent += 1
    flags = digit(parent[TRACEPARENT_BYTES - 1]) & 3
    out[0], out[1] = 5 << 3 | 2, 34 + 18 + (2 if flags else 0)
    out = envelope_put_bytes(out + 2, 1, text, 32)
    out = envelope_put_bytes(out, 2, parent + 36, 16)
    if flags:
        out[0], out[1] = 4 << 3, <uint8_t>flags
        out += 2
    return out


cdef inline int digit(uint8_t c) noexcept:
    return c - c"0" if c <= c"9" else c - c"a" + 10
