from libc.stdint cimport uint32_t

cdef uint32_t crc32_of(const unsigned char* data, size_t length) noexcept nogil
