"""What native handlers know of a namespace on Redis."""
from libc.stdint cimport uint8_t

from prism_proxy._native.resp cimport RespConnection


cdef class RedisStore:
    cdef readonly bytes prefix          # of every key of the namespace
    cdef readonly list connections      # RespConnection or None, by place
    cdef readonly object bulk           # RespConnection for large values, or None
    cdef readonly size_t bulk_bytes
    cdef readonly dict describe         # "expired", "unknown": makes the error of a call without an answer
    cdef RespConnection pick(self, const uint8_t* key, size_t n, size_t value_bytes)
