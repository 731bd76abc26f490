"""The answer to what is no gRPC call, such as a browser's request."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy

from prism_proxy._native.http2.buffers cimport chunk_bytes, chunk_new, chunk_t
from prism_proxy._native.http2.session cimport H2Stream
from prism_proxy._native.http2.name_values cimport fixed
from prism_proxy._native.http2.nghttp2 cimport nghttp2_nv

cdef bytes NOT_GRPC = b"This port speaks gRPC: POST /package.Service/Method with content-type application/grpc.\n"


cdef bint answer_plainly(H2Stream stream, const char* status) noexcept:
    """An HTTP status of three digits, with what to send instead. False without memory."""
    cdef nghttp2_nv nva[2]
    cdef chunk_t* body = chunk_new(PyBytes_GET_SIZE(NOT_GRPC))
    if body == NULL:
        return False
    memcpy(chunk_bytes(body), PyBytes_AS_STRING(NOT_GRPC), PyBytes_GET_SIZE(NOT_GRPC))
    nva[0] = fixed(":status", 7, status, 3)
    nva[1] = fixed("content-type", 12, "text/plain", 10)
    stream.enqueue(body)
    stream.out_ended = True
    stream.session.submit_headers(stream, nva, 2, False)
    return True
