"""AES-256-GCM and ChaCha20-Poly1305 for single messages, on libcrypto's EVP with cached contexts.

A context keeps its key schedule, so a message costs setting an iv and the cipher itself. Payloads above
`UNLOCKED_BYTES` run on a copy of the context with the GIL released. This module knows no envelope and no key reference,
and it never chooses an iv except in `CounterIv`.
"""
from os import urandom

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from "openssl/evp.h":
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct ENGINE:
        pass
    const EVP_CIPHER* EVP_aes_256_gcm() nogil
    const EVP_CIPHER* EVP_chacha20_poly1305() nogil
    EVP_CIPHER_CTX* EVP_CIPHER_CTX_new() nogil
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX*) nogil
    int EVP_CIPHER_CTX_copy(EVP_CIPHER_CTX* out, const EVP_CIPHER_CTX* source) nogil
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX*, const EVP_CIPHER*, ENGINE*, const uint8_t* key, const uint8_t* iv) nogil
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX*, const EVP_CIPHER*, ENGINE*, const uint8_t* key, const uint8_t* iv) nogil
    int EVP_EncryptUpdate(EVP_CIPHER_CTX*, uint8_t* out, int* outl, const uint8_t* data, int n) nogil
    int EVP_DecryptUpdate(EVP_CIPHER_CTX*, uint8_t* out, int* outl, const uint8_t* data, int n) nogil
    int EVP_EncryptFinal_ex(EVP_CIPHER_CTX*, uint8_t* out, int* outl) nogil
    int EVP_DecryptFinal_ex(EVP_CIPHER_CTX*, uint8_t* out, int* outl) nogil
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX*, int type, int arg, void* ptr) nogil
    enum:
        EVP_CTRL_AEAD_GET_TAG
        EVP_CTRL_AEAD_SET_TAG

cdef extern from "openssl/err.h":
    void ERR_clear_error() nogil

cdef enum:
    UNLOCKED_BYTES = 64 * 1024      # above this the GIL is released; below it costs more than it gives
    MAX_BYTES = 0x7fffffef      # EVP counts in int, and the tag follows

globals().update(IV_BYTES=12, TAG_BYTES=16, KEY_BYTES=32)


class AuthenticationError(ValueError):
    """The ciphertext, its tag, the iv, the associated data or the key is not what it was sealed with."""


cdef int run_seal(EVP_CIPHER_CTX* context, uint8_t* out, const uint8_t* iv, const uint8_t* data, size_t n,
                  const uint8_t* aad, size_t aad_n) noexcept nogil:
    cdef int written = 0, last = 0
    if EVP_EncryptInit_ex(context, NULL, NULL, NULL, iv) != 1:
        return -1
    if aad_n and EVP_EncryptUpdate(context, NULL, &written, aad, <int>aad_n) != 1:
        return -1
    if n and EVP_EncryptUpdate(context, out, &written, data, <int>n) != 1:
        return -1
    if EVP_EncryptFinal_ex(context, out + n, &last) != 1:
        return -1
    return 0 if EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, out + n) == 1 else -1


cdef int run_open(EVP_CIPHER_CTX* context, uint8_t* out, const uint8_t* iv, const uint8_t* data, size_t n,
                  const uint8_t* aad, size_t aad_n) noexcept nogil:
    cdef int written = 0, last = 0
    cdef size_t body
    if n < TAG_BYTES:
        return -1
    body = n - TAG_BYTES
    if EVP_DecryptInit_ex(context, NULL, NULL, NULL, iv) != 1:
        return -1
    if aad_n and EVP_DecryptUpdate(context, NULL, &written, aad, <int>aad_n) != 1:
        return -1
    if body and EVP_DecryptUpdate(context, out, &written, data, <int>body) != 1:
        return -1
    if EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, <void*>(data + body)) != 1:
        return -1
    if EVP_DecryptFinal_ex(context, out + body, &last) != 1:
        ERR_clear_error()
        return -1
    return 0


cdef class Aead:
    """`algorithm` is aes-256-gcm or chacha20-poly1305, `key` has KEY_BYTES. ValueError otherwise."""

    def __cinit__(self, str algorithm not None, bytes key not None):
        cdef const EVP_CIPHER* cipher
        cdef const uint8_t* secret = <const uint8_t*>PyBytes_AS_STRING(key)
        if algorithm == "aes-256-gcm":
            cipher = EVP_aes_256_gcm()
        elif algorithm == "chacha20-poly1305":
            cipher = EVP_chacha20_poly1305()
        else:
            raise ValueError(f"{algorithm!r} is no AEAD: use aes-256-gcm or chacha20-poly1305")
        if PyBytes_GET_SIZE(key) != KEY_BYTES:
            raise ValueError(f"the key has {PyBytes_GET_SIZE(key)} bytes: {algorithm} needs {KEY_BYTES}")
        self.algorithm = algorithm
        self.sealing = EVP_CIPHER_CTX_new()
        self.opening = EVP_CIPHER_CTX_new()
        if self.sealing == NULL or self.opening == NULL:
            raise MemoryError
        if EVP_EncryptInit_ex(self.sealing, cipher, NULL, secret, NULL) != 1 or EVP_DecryptInit_ex(
                self.opening, cipher, NULL, secret, NULL) != 1:
            ERR_clear_error()
            raise RuntimeError(f"libcrypto does not offer {algorithm}")

    def __dealloc__(self):
        EVP_CIPHER_CTX_free(self.sealing)   # wipes the key schedule; NULL is fine
        EVP_CIPHER_CTX_free(self.opening)

    cdef int seal_into(self, uint8_t* out, const uint8_t* iv, const uint8_t* data, size_t n,
                       const uint8_t* aad, size_t aad_n) noexcept:
        cdef EVP_CIPHER_CTX* context
        cdef int failed
        if n > MAX_BYTES or aad_n > MAX_BYTES:
            return -1
        if n <= UNLOCKED_BYTES:
            return run_seal(self.sealing, out, iv, data, n, aad, aad_n)
        context = EVP_CIPHER_CTX_new()      # copied under the GIL: threads share the original
        failed = context == NULL or EVP_CIPHER_CTX_copy(context, self.sealing) != 1
        if not failed:
            with nogil:
                failed = run_seal(context, out, iv, data, n, aad, aad_n)
        EVP_CIPHER_CTX_free(context)
        return failed

    cdef int open_into(self, uint8_t* out, const uint8_t* iv, const uint8_t* data, size_t n,
                       const uint8_t* aad, size_t aad_n) noexcept:
        cdef EVP_CIPHER_CTX* context
        cdef int failed
        if n > MAX_BYTES or aad_n > MAX_BYTES:
            return -1
        if n <= UNLOCKED_BYTES:
            return run_open(self.opening, out, iv, data, n, aad, aad_n)
        context = EVP_CIPHER_CTX_new()
        failed = context == NULL or EVP_CIPHER_CTX_copy(context, self.opening) != 1
        if not failed:
            with nogil:
                failed = run_open(context, out, iv, data, n, aad, aad_n)
        EVP_CIPHER_CTX_free(context)
        return failed

    def seal(self, bytes iv not None, bytes plaintext not None, bytes aad not None) -> bytes:
        """Ciphertext followed by its tag. The caller answers for an iv that this key never saw."""
        cdef Py_ssize_t n = PyBytes_GET_SIZE(plaintext)
        cdef bytes out
        if PyBytes_GET_SIZE(iv) != IV_BYTES:
            raise ValueError(f"the iv has {PyBytes_GET_SIZE(iv)} bytes: it must have {IV_BYTES}")
        out = PyBytes_FromStringAndSize(NULL, n + TAG_BYTES)
        if self.seal_into(<uint8_t*>PyBytes_AS_STRING(out), <const uint8_t*>PyBytes_AS_STRING(iv),
                          <const uint8_t*>PyBytes_AS_STRING(plaintext), n,
                          <const uint8_t*>PyBytes_AS_STRING(aad), PyBytes_GET_SIZE(aad)):
            raise RuntimeError(f"libcrypto did not seal {n} bytes with {self.algorithm}")
        return out

    def open(self, bytes iv not None, bytes sealed not None, bytes aad not None) -> bytes:
        """The plaintext. AuthenticationError when anything differs from what was sealed."""
        cdef Py_ssize_t n = PyBytes_GET_SIZE(sealed)
        cdef bytes out
        if n < TAG_BYTES or PyBytes_GET_SIZE(iv) != IV_BYTES:
            raise AuthenticationError(self.algorithm)
        out = PyBytes_FromStringAndSize(NULL, n - TAG_BYTES)
        if self.open_into(<uint8_t*>PyBytes_AS_STRING(out), <const uint8_t*>PyBytes_AS_STRING(iv),
                          <const uint8_t*>PyBytes_AS_STRING(sealed), n,
                          <const uint8_t*>PyBytes_AS_STRING(aad), PyBytes_GET_SIZE(aad)):
            raise AuthenticationError(self.algorithm)
        return out


cdef class IvSource:
    cdef int draw(self, uint8_t* out) noexcept:
        return -1

    def next(self) -> bytes:
        """The next iv. RuntimeError when the system has no random bytes."""
        cdef uint8_t iv[IV_BYTES]
        if self.draw(iv):
            raise RuntimeError("there is no iv")
        return PyBytes_FromStringAndSize(<char*>iv, IV_BYTES)


cdef class CounterIv(IvSource):
    """ivs 0, 1, 2, … of 12 bytes. Only for a key that this process drew at random and never stored: no other process
    and no restart then counts under the same key."""

    cdef int draw(self, uint8_t* out) noexcept:
        cdef uint64_t count = self.used
        cdef int at
        self.used += 1
        for at in range(4):
            out[at] = 0
        for at in range(8):
            out[11 - at] = <uint8_t>(count >> (8 * at))
        return 0


cdef class RandomIv(IvSource):
    """Random ivs of 12 bytes for a key that others hold too, drawn from the system in blocks: random ivs allow 2^32
    under one key."""

    def __cinit__(self):
        self.block = b""

    cdef int draw(self, uint8_t* out) noexcept:
        if self.at >= PyBytes_GET_SIZE(self.block):
            try:
                self.block = urandom(IV_BYTES * 512)
            except OSError:
                return -1
            self.at = 0
        memcpy(out, PyBytes_AS_STRING(self.block) + self.at, IV_BYTES)
        self.at += IV_BYTES
        self.used += 1
        return 0
