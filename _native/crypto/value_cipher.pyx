"""Encrypted KeyValue values for native handlers: see `prism_proxy.steps.encrypt.values` for their layout.

It knows only what it was taught: data keys that the step has checked, and for how long it may use them. Everything else
(another key, a value that does not open, plaintext, a large value) is the servicer's, which has the rules, the errors
and the audit. What the servicer learns by that it teaches in turn.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from prism_proxy._native.crypto.aead cimport IV_BYTES, TAG_BYTES, Aead, IvSource
from prism_proxy._native.grpc.protowire cimport proto_put_varint, proto_varint_size
from prism_proxy._native.runtime.clock cimport monotonic_ns

cdef extern from "string.h":
    void explicit_bzero(void* data, size_t length) nogil

cdef enum:
    MOST_KEYS = 16              # data keys that are known at once
    MOST_BYTES = 8 * 1024       # larger values are the servicer's: they cost it little more
    MAGIC_BYTES = 4
    IV_TAG = 0x2A               # fields 5 and 6 of EncryptionMetadata
    AAD_TAG = 0x32

cdef const uint8_t* MAGIC = b"PRE1"


cdef size_t read_varint(const uint8_t* at, const uint8_t* end, uint64_t* out) noexcept:
    """How many bytes a number has, at most three: no head is longer. 0 when it is none."""
    cdef size_t n = 0
    out[0] = 0
    while at + n < end and n < 3:
        out[0] |= <uint64_t>(at[n] & 0x7F) << (7 * n)
        n += 1
        if at[n - 1] < 0x80:
            return n
    return 0


cdef bint closed(window_t* window) noexcept:
    """Whether the servicer must serve this call."""
    cdef int64_t now = monotonic_ns()
    if now < window.soft:
        return False
    if now < window.hard and window.asked:
        return False
    window.asked = True
    return True


cdef void put_length(uint8_t* out, size_t n) noexcept:
    out[0] = <uint8_t>(n >> 24)
    out[1] = <uint8_t>(n >> 16)
    out[2] = <uint8_t>(n >> 8)
    out[3] = <uint8_t>n


cdef class DataKey:
    """`before` are the metadata's fields 1 to 4, `after` those behind the aad, encoded."""

    def __cinit__(self, Aead aead not None, bytes before not None, bytes after not None, str key_id not None):
        self.aead, self.before, self.after, self.key_id = aead, before, after, key_id


cdef class ValueCipher:
    """Of one namespace and configuration."""

    def __cinit__(self, bytes namespace not None):
        self.namespace = len(namespace).to_bytes(4, "big") + namespace
        self.keys = []
        self.gone = []

    def __dealloc__(self):
        self.drop_scratch()

    cdef void drop_scratch(self) noexcept:
        """It may hold a plaintext."""
        if self.scratch != NULL:
            explicit_bzero(self.scratch, self.room)
            free(self.scratch)
        self.scratch, self.room = NULL, 0

    def learn(self, DataKey key not None, int64_t soft, int64_t hard) -> None:
        """Open values under this key too. What is known may be used until `hard` (monotonic nanoseconds); at `soft` one
        call asks again, so that not all of them do at once."""
        self.keep(key)
        self.opens = window_t(soft, hard, False)

    def keep(self, DataKey key not None) -> None:
        """Know a key, for as long as others."""
        for known in self.keys:
            if (<DataKey>known).before == key.before and (<DataKey>known).after == key.after:
                return
        self.keys.insert(0, key)
        self.gone += self.keys[MOST_KEYS:]
        del self.keys[MOST_KEYS:]

    def seal_with(
        self, DataKey key not None, IvSource ivs not None, uint64_t most_ivs, int64_t soft, int64_t hard
    ) -> None:
        """Seal values under this key, as `learn` says, or until `ivs` have given so many."""
        if self.sealing is None or self.sealing.before != key.before or self.sealing.after != key.after:
            self.gone.append(self.sealing)
            self.sealing = key
        self.ivs, self.most_ivs = ivs, most_ivs
        self.seals = window_t(soft, hard, False)

    def forget(self) -> None:
        """Know nothing."""
        self.gone += [*self.keys, self.sealing]
        self.keys.clear()
        self.sealing = None

    def take_uses(self) -> list:
        """(sealed, opened, key id) since the last time."""
        found = []
        for key in [*self.keys, self.sealing, *self.gone]:
            if key is not None and ((<DataKey>key).sealed or (<DataKey>key).opened):
                found.append(((<DataKey>key).sealed, (<DataKey>key).opened, (<DataKey>key).key_id))
                (<DataKey>key).sealed = (<DataKey>key).opened = 0
        self.gone.clear()
        return found

    cdef int reserve(self, size_t size) noexcept:
        if size <= self.room:
            return 0
        self.drop_scratch()
        self.scratch = <uint8_t*>malloc(size)
        self.room = size if self.scratch != NULL else 0
        return 0 if self.scratch != NULL else -1

    cdef int open_value(self, const uint8_t* key, size_t key_n, const uint8_t* stored, size_t n,
                        const uint8_t** out, size_t* out_n, bint own) noexcept:
        cdef const uint8_t* end = stored + n
        cdef const uint8_t* head
        cdef const uint8_t* iv = NULL
        cdef const uint8_t* aad = NULL
        cdef size_t aad_n = 0, size, sealed_n
        cdef uint64_t head_n
        cdef Py_ssize_t at
        cdef DataKey found
        if n < MAGIC_BYTES + TAG_BYTES or memcmp(stored, MAGIC, MAGIC_BYTES) or not self.keys or (
                not own and (n > MOST_BYTES or closed(&self.opens))):
            return -1
        size = read_varint(stored + MAGIC_BYTES, end, &head_n)
        head = stored + MAGIC_BYTES + size
        if not size or head_n > <uint64_t>(end - head) or self.reserve(n if n > MOST_BYTES else MOST_BYTES):
            return -1
        sealed_n = end - head - head_n
        if sealed_n < TAG_BYTES:
            return -1
        for at in range(len(self.keys)):
            found = <DataKey>self.keys[at]
            if self.matches(found, head, head_n, key, key_n, &iv, &aad, &aad_n):
                continue
            if found.aead.open_into(self.scratch, iv, head + head_n, sealed_n, aad, aad_n):
                return -1
            if at:
                self.keys[at], self.keys[0] = self.keys[0], found
            found.opened += 1
            out[0], out_n[0] = self.scratch, sealed_n - TAG_BYTES
            return 0
        return -1

    cdef int matches(self, DataKey found, const uint8_t* head, size_t head_n, const uint8_t* key, size_t key_n,
                     const uint8_t** iv, const uint8_t** aad, size_t* aad_n) noexcept:
        """0 when the metadata are those of values under this key, and the aad that of this key of the store."""
        cdef size_t before = PyBytes_GET_SIZE(found.before), after = PyBytes_GET_SIZE(found.after)
        cdef size_t space = PyBytes_GET_SIZE(self.namespace), wanted = space + 4 + key_n, size
        cdef const uint8_t* end = head + head_n
        cdef const uint8_t* at = head + before
        cdef uint64_t said
        cdef uint8_t length[4]
        if head_n < before + after + 2 + IV_BYTES + 2 or memcmp(head, PyBytes_AS_STRING(found.before), before):
            return -1
        if at[0] != IV_TAG or at[1] != IV_BYTES or at[2 + IV_BYTES] != AAD_TAG:
            return -1
        iv[0] = at + 2
        at += 3 + IV_BYTES
        size = read_varint(at, end, &said)
        at += size
        if not size or said != wanted or <size_t>(end - at) != wanted + after:
            return -1
        put_length(length, key_n)
        if memcmp(at, PyBytes_AS_STRING(self.namespace), space) or memcmp(at + space, length, 4) or memcmp(
                at + space + 4, key, key_n) or memcmp(at + wanted, PyBytes_AS_STRING(found.after), after):
            return -1
        aad[0], aad_n[0] = at, wanted
        return 0

    cdef int seal_value(self, const uint8_t* key, size_t key_n, const uint8_t* value, size_t n,
                        const uint8_t** out, size_t* out_n) noexcept:
        cdef DataKey found = self.sealing
        cdef size_t before, after, space, aad_n, head_n, size
        cdef uint8_t* at
        cdef uint8_t* iv
        cdef uint8_t* aad
        if found is None or n > MOST_BYTES or key_n > MOST_BYTES or self.ivs.used >= self.most_ivs or (
                closed(&self.seals)):
            return -1
        before, after = PyBytes_GET_SIZE(found.before), PyBytes_GET_SIZE(found.after)
        space = PyBytes_GET_SIZE(self.namespace)
        aad_n = space + 4 + key_n
        head_n = before + 2 + IV_BYTES + 1 + proto_varint_size(aad_n) + aad_n + after
        size = MAGIC_BYTES + proto_varint_size(head_n) + head_n + n + TAG_BYTES
        if self.reserve(size if size > MOST_BYTES else MOST_BYTES):
            return -1
        memcpy(self.scratch, MAGIC, MAGIC_BYTES)
        at = proto_put_varint(self.scratch + MAGIC_BYTES, head_n)
        memcpy(at, PyBytes_AS_STRING(found.before), before)
        at += before
        at[0], at[1] = IV_TAG, IV_BYTES
        iv = at + 2
        if self.ivs.draw(iv):
            return -1
        at = iv + IV_BYTES
        at[0] = AAD_TAG
        aad = proto_put_varint(at + 1, aad_n)
        memcpy(aad, PyBytes_AS_STRING(self.namespace), space)
        put_length(aad + space, key_n)
        memcpy(aad + space + 4, key, key_n)
        at = aad + aad_n
        memcpy(at, PyBytes_AS_STRING(found.after), after)
        at += after
        if found.aead.seal_into(at, iv, value, n, aad, aad_n):
            return -1
        found.sealed += 1
        out[0], out_n[0] = self.scratch, size
        return 0
