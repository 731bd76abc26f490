"""Yes or no to a payload, for native code."""
from libc.stdint cimport uint8_t, uint64_t


cdef class NativeCheck:
    cdef bint valid(self, const uint8_t* data, size_t n) noexcept


cdef class DeclaredSchema:
    cdef bytes entries
    cdef bytes context
    cdef NativeCheck check
    cdef bint ready
    cdef public uint64_t validated

    cdef bint admits(self, const uint8_t* data, size_t n) noexcept
