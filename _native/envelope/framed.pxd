from libc.stdint cimport uint8_t, uint32_t

from prism_proxy._native.http2.buffers cimport chunk_t

cdef extern from "envelope/framed.h":
    ctypedef struct framed_t:
        uint32_t refs
        size_t length

    framed_t* framed_new(const uint8_t*, size_t)
    void framed_unref(void*)
    chunk_t* framed_chunk(framed_t*)


cdef class FramedMessage:
    cdef framed_t* framed


cdef class BorrowedMessage:
    cdef bytes head
    cdef Py_buffer body
