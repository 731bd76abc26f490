"""Header blocks as nghttp2 takes them."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from prism_proxy._native.http2.nghttp2 cimport NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE, nghttp2_nv

cdef enum:
    MAX_NV = 64


cdef inline nghttp2_nv fixed(const char* name, size_t name_length, const char* value, size_t value_length) noexcept:
    cdef nghttp2_nv nv
    nv.name = <uint8_t*>name
    nv.namelen = name_length
    nv.value = <uint8_t*>value
    nv.valuelen = value_length
    nv.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return nv


cdef inline int add_pairs(nghttp2_nv* nva, int n, list pairs) noexcept:
    """Append (name, value) bytes to a header block. The list must outlive the submit call, which copies."""
    cdef tuple pair
    if pairs is None:
        return n
    for pair in pairs:
        if n == MAX_NV:
            break
        nva[n].name = <uint8_t*>PyBytes_AS_STRING(<bytes>pair[0])
        nva[n].namelen = PyBytes_GET_SIZE(<bytes>pair[0])
        nva[n].value = <uint8_t*>PyBytes_AS_STRING(<bytes>pair[1])
        nva[n].valuelen = PyBytes_GET_SIZE(<bytes>pair[1])
        nva[n].flags = 0
        n += 1
    return n
