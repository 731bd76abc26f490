from libc.stdint cimport uint8_t

cdef extern from "http2/buffers.h" nogil:
    ctypedef struct buffer_t:
        uint8_t* data
        size_t length
        size_t capacity

    int buffer_reserve(buffer_t*, size_t extra)
    int buffer_append(buffer_t*, const void*, size_t)
    void buffer_free(buffer_t*)

    ctypedef struct chunk_t:
        chunk_t* next
        const uint8_t* data
        size_t length
        size_t offset

    chunk_t* chunk_new(size_t)
    uint8_t* chunk_bytes(chunk_t*)

# Releasing an owner may drop a Python reference, so these need the GIL.
cdef extern from "http2/buffers.h":
    chunk_t* chunk_borrow(const uint8_t*, size_t, void* owner, void (*release)(void*) noexcept)
    void chunk_free(chunk_t*)
    void chunks_free(chunk_t*)
    void chunks_take(chunk_t** head, chunk_t** tail, uint8_t* out, size_t n)
