from libc.stdint cimport uint8_t

from prism_proxy._native.http2.buffers cimport buffer_t

cdef extern from "grpc/messages.h" nogil:
    ctypedef struct assembler_t:
        uint8_t prefix[5]
        int prefix_length
        size_t message_length
        buffer_t message

    enum:
        ASSEMBLE_MORE, ASSEMBLE_MESSAGE, ASSEMBLE_TOO_LARGE, ASSEMBLE_NO_MEMORY

    size_t message_length_of(const uint8_t* prefix)
    int assemble(assembler_t*, const uint8_t** data, size_t* n, size_t max)
    int assembler_in_message(const assembler_t*)
