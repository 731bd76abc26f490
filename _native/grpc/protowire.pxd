from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "grpc/protowire.h" nogil:
    enum:
        PROTO_VARINT, PROTO_LEN

    ctypedef struct proto_reader_t:
        const uint8_t* at
        const uint8_t* end

    ctypedef struct proto_bytes_t:
        const uint8_t* data
        size_t length

    int proto_tag(proto_reader_t*, uint32_t* field, int* wire_type)
    int proto_varint(proto_reader_t*, int max_bytes, uint64_t* out)
    int proto_length_delimited(proto_reader_t*, proto_bytes_t*)
    int proto_skip(proto_reader_t*, uint32_t field, int wire_type, int depth)
    int proto_utf8(proto_bytes_t)
    int proto_varint_size(uint64_t)
    uint8_t* proto_put_varint(uint8_t*, uint64_t)
