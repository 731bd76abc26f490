"""Encrypted KeyValue values for native handlers: see `prism_proxy.steps.encrypt.values` for their layout."""
from libc.stdint cimport int64_t, uint8_t, uint64_t

from prism_proxy._native.crypto.aead cimport Aead, IvSource


cdef struct window_t:
    # Monotonic nanoseconds. After `soft` one call goes to the servicer, which teaches anew, and after `hard` all do.
    int64_t soft, hard
    bint asked


cdef class DataKey:
    """A data key, and what values under it have in common: their metadata around iv and aad."""
    cdef readonly Aead aead
    cdef readonly bytes before, after
    cdef readonly str key_id
    cdef readonly uint64_t opened, sealed


cdef class ValueCipher:
    cdef bytes namespace        # behind its length
    cdef list keys              # DataKey that open values, the last one used first
    cdef DataKey sealing        # or None
    cdef list gone              # those that are known no more, whose uses nobody took yet
    cdef IvSource ivs
    cdef uint64_t most_ivs
    cdef window_t opens, seals
    cdef uint8_t* scratch
    cdef size_t room

    # Both give 0 and bytes that are good until the next call, or -1: the servicer must serve this call. `own` is what
    # was sealed here and came back unused: no rule forbids to open it.
    cdef int open_value(self, const uint8_t* key, size_t key_n, const uint8_t* stored, size_t n,
                        const uint8_t** out, size_t* out_n, bint own) noexcept
    cdef int seal_value(self, const uint8_t* key, size_t key_n, const uint8_t* value, size_t n,
                        const uint8_t** out, size_t* out_n) noexcept
    cdef int matches(self, DataKey found, const uint8_t* head, size_t head_n, const uint8_t* key, size_t key_n,
                     const uint8_t** iv, const uint8_t** aad, size_t* aad_n) noexcept
    cdef void drop_scratch(self) noexcept
    cdef int reserve(self, size_t size) noexcept
