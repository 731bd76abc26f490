"""CRC32 (IEEE) of a namespace name and the partition it falls in."""
from libc.stdint cimport uint32_t

cdef extern from "zlib.h" nogil:
    unsigned long zlib_crc32 "crc32"(unsigned long crc, const unsigned char* buf, unsigned int length)

PARTITIONS = 256


cdef uint32_t crc32_of(const unsigned char* data, size_t length) noexcept nogil:
    return <uint32_t>zlib_crc32(0, data, <unsigned int>length)


def partition_of(str namespace not None) -> int:
    """Partition of a namespace: CRC32 (IEEE) of its UTF-8 name, modulo 256."""
    cdef bytes name = namespace.encode()
    return crc32_of(name, len(name)) % 256
