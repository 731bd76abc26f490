"""AEAD over libcrypto for native handlers: sealed in place, no Python object."""
from libc.stdint cimport uint8_t, uint64_t

cdef extern from "openssl/evp.h":
    ctypedef struct EVP_CIPHER_CTX:
        pass

cdef enum:
    IV_BYTES = 12
    TAG_BYTES = 16
    KEY_BYTES = 32


cdef class Aead:
    """One key of one algorithm. The key schedule is made once and kept in two contexts."""
    cdef EVP_CIPHER_CTX* sealing
    cdef EVP_CIPHER_CTX* opening
    cdef readonly str algorithm

    # Both give 0 when they succeed. `out` of seal has room for n + TAG_BYTES, that of open for n - TAG_BYTES.
    cdef int seal_into(self, uint8_t* out, const uint8_t* iv, const uint8_t* data, size_t n,
                       const uint8_t* aad, size_t aad_n) noexcept
    cdef int open_into(self, uint8_t* out, const uint8_t* iv, const uint8_t* data, size_t n,
                       const uint8_t* aad, size_t aad_n) noexcept


cdef class IvSource:
    """Where the ivs under one key come from; `used` counts them."""
    cdef readonly uint64_t used
    cdef int draw(self, uint8_t* out) noexcept      # IV_BYTES; 0 when there is one


cdef class CounterIv(IvSource):
    pass


cdef class RandomIv(IvSource):
    cdef bytes block
    cdef Py_ssize_t at
