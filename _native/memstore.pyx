"""Python face of the memory store; native handlers cimport `MemStore` and call its `native_` methods.

Not thread-safe: all calls come from one event loop. Times are monotonic nanoseconds of `clock` (the system's by
default, another one in tests).
"""
import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from prism_proxy._native.clock cimport monotonic_ns

cdef enum:
    MAX_PAGE = 1024
    PAGE_BYTES = 1 << 20    # values copied by one scan call


class StoreFull(Exception):
    """A write would exceed `max_bytes` or `max_keys`."""


cdef inline const uint8_t* start(bytes data) noexcept:
    return <const uint8_t*>PyBytes_AS_STRING(data)


cdef inline bytes copy_of(blob_t* blob):
    return PyBytes_FromStringAndSize(<const char*>blob.data, blob.length)


cdef inline bint same(blob_t* blob, bytes expected) noexcept:
    return blob.length == <size_t>PyBytes_GET_SIZE(expected) and memcmp(blob.data, start(expected), blob.length) == 0


cdef class MemStore:
    """Keys and values are bytes. Writes raise StoreFull, and change nothing, where the store is at its bound."""

    def __cinit__(self, int64_t max_bytes, uint64_t max_keys=0, bint lru=False, clock=None):
        cdef bytes seed = os.urandom(16)
        self.clock = clock
        self.store = ms_new(max_bytes, max_keys, lru, self.now(), start(seed))
        if self.store == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.store != NULL:
            ms_free(self.store)

    cdef int64_t now(self) except -1:
        if self.clock is None:
            return monotonic_ns()
        return self.clock()

    cdef blob_t* native_get(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept:
        return ms_get(self.store, key, n, now_ns)

    cdef int native_set(self, const uint8_t* key, size_t n, const uint8_t* value, size_t m, int64_t now_ns) noexcept:
        return ms_set(self.store, key, n, value, m, now_ns)

    cdef int native_delete(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept:
        return ms_delete(self.store, key, n, now_ns)

    cdef int native_exists(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept:
        return ms_exists(self.store, key, n, now_ns)

    def set(self, bytes key not None, bytes value not None):
        """Store a value and clear the expiry."""
        if ms_set(self.store, start(key), len(key), start(value), len(value), self.now()) != MS_OK:
            raise StoreFull

    def get(self, bytes key not None):
        cdef blob_t* blob = ms_get(self.store, start(key), len(key), self.now())
        return None if blob == NULL else copy_of(blob)

    def delete(self, bytes key not None):
        """True when the key existed."""
        return ms_delete(self.store, start(key), len(key), self.now()) != 0

    def exists(self, bytes key not None):
        return ms_exists(self.store, start(key), len(key), self.now()) != 0

    def expire(self, bytes key not None, int64_t ttl_ns):
        """Let the key expire in `ttl_ns`; 0 deletes it. True when it existed."""
        cdef int64_t now = self.now()
        cdef int64_t longest = <int64_t>0x7FFFFFFFFFFFFFFF - now
        return ms_expire(self.store, start(key), len(key), now + (ttl_ns if ttl_ns < longest else longest), now) != 0

    def persist(self, bytes key not None):
        """True when an expiry was removed."""
        return ms_persist(self.store, start(key), len(key), self.now()) != 0

    def ttl_ns(self, bytes key not None):
        """Nanoseconds left; -1 without expiry; None without key."""
        cdef int64_t now = self.now()
        cdef int64_t deadline = ms_deadline(self.store, start(key), len(key), now)
        if deadline < 0:
            return None
        return deadline - now if deadline else -1

    def compare_and_swap(self, bytes key not None, bytes expected, bytes value not None):
        """(True, None), or (False, the value found). `expected` None means the key must not exist."""
        cdef blob_t* blob = ms_get(self.store, start(key), len(key), self.now())
        if (blob == NULL) != (expected is None) or (blob != NULL and not same(blob, expected)):
            return False, None if blob == NULL else copy_of(blob)
        self.set(key, value)
        return True, None

    def compare_and_delete(self, bytes key not None, bytes expected not None):
        cdef blob_t* blob = ms_get(self.store, start(key), len(key), self.now())
        if blob == NULL or not same(blob, expected):
            return False, None if blob == NULL else copy_of(blob)
        ms_delete(self.store, start(key), len(key), self.now())
        return True, None

    def get_versioned(self, bytes key not None):
        """(value or None, version); versions never repeat, 0 is absence."""
        cdef uint64_t version = 0
        cdef blob_t* blob = ms_get_versioned(self.store, start(key), len(key), self.now(), &version)
        return (None if blob == NULL else copy_of(blob)), version

    def commit(self, reads not None, writes not None):
        """Apply all writes if every key read still has its version. False on a conflict; StoreFull."""
        cdef ms_read_t* r = <ms_read_t*>calloc(len(reads) + 1, sizeof(ms_read_t))
        cdef ms_write_t* w = <ms_write_t*>calloc(len(writes) + 1, sizeof(ms_write_t))
        cdef size_t i
        cdef bytes key, value
        cdef int rc
        try:
            if r == NULL or w == NULL:
                raise MemoryError
            # The mappings keep the bytes alive for the length of the call.
            for i, (key, version) in enumerate(reads.items()):
                r[i] = ms_read_t(start(key), len(key), version)
            for i, (key, value) in enumerate(writes.items()):
                w[i] = ms_write_t(start(key), start(value), len(key), len(value))
            rc = ms_commit(self.store, r, len(reads), w, len(writes), self.now())
        finally:
            free(r)
            free(w)
        if rc == MS_FULL:
            raise StoreFull
        return rc == MS_OK

    def scan(self, bytes prefix not None, bytes after, size_t count, bint values):
        """One page in bytewise order: ([(key, value or None)], key to go on after, or None at the end).

        A page is bounded in work and bytes as well as in `count`: it may be short, even empty, and not be the last.
        """
        cdef ms_item_t items[MAX_PAGE]
        cdef ms_item_t last
        cdef int more = 0
        cdef size_t i, n, copied = 0
        cdef list out = []
        n = ms_scan(self.store, start(prefix), len(prefix), NULL if after is None else start(after),
                    0 if after is None else len(after), self.now(), items, count if count < MAX_PAGE else MAX_PAGE,
                    &last, &more)
        for i in range(n):
            key = PyBytes_FromStringAndSize(<const char*>items[i].key, items[i].key_length)
            out.append((key, copy_of(items[i].value) if values else None))
            copied += items[i].value.length if values else 0
            if copied >= PAGE_BYTES and i + 1 < n:
                return out, key
        if not more:
            return out, None
        return out, PyBytes_FromStringAndSize(<const char*>last.key, last.key_length)

    def tick(self, int budget):
        """Up to `budget` units of expiry and rehashing; True when more is due."""
        return ms_tick(self.store, self.now(), budget) != 0

    def is_full(self):
        return ms_is_full(self.store) != 0

    def counters(self):
        """keys, bytes (overhead included), expired, evicted, refused."""
        cdef ms_counters_t c = ms_counters(self.store)
        return {"keys": c.keys, "bytes": c.bytes, "expired": c.expired, "evicted": c.evicted, "refused": c.refused}
