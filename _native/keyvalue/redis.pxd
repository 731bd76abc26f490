"""What native handlers know of a namespace on Redis."""
from libc.stdint cimport uint8_t, uint32_t

from prism_proxy._native.redis.resp cimport RespConnection, FairShare, Writes


cdef class PoolSlots:
    cdef readonly list connections      # RespConnection or None; the last one is for large values
    cdef readonly list writes           # Writes by place: those on their way over its connections


cdef class RedisStore:
    cdef readonly bytes prefix          # of every key of the namespace
    cdef readonly size_t bulk_bytes
    cdef readonly size_t max_value_bytes
    cdef readonly uint32_t max_pending
    cdef PoolSlots places                  # None while detached
    cdef readonly list shares           # FairShare by place
    cdef readonly dict describe         # "expired", "unknown": makes the error of a call without an answer
    cdef uint32_t seed                  # of the hash of keys
    cdef Py_ssize_t place_of(self, const uint8_t* key, size_t n) noexcept
    cdef uint32_t bucket_of(self, const uint8_t* key, size_t n) noexcept
    cdef Py_ssize_t place_of_write(self, const uint8_t* key, size_t n, size_t value_bytes, uint32_t* bucket) noexcept
    cdef RespConnection usable(self, Py_ssize_t place)
