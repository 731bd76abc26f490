"""Python face of the memory store; native handlers cimport `MemStore` and call its `native_` methods.

Not thread-safe: all calls come from one event loop. Times are monotonic nanoseconds of `clock` (the system's by
default, another one in tests).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from prism_proxy._native.runtime.clock cimport monotonic_ns

cdef extern from "memstore/store.h":
    ctypedef struct ms_stats_t:
        uint64_t keys, bytes, reserved, evicted, expired, refused, timers, blobs, pinned

    ctypedef struct ms_read_t:
        const uint8_t* key
        size_t klen
        uint64_t version

    ctypedef struct ms_write_t:
        const uint8_t* key
        size_t klen
        const uint8_t* value
        size_t vlen

    ctypedef int (*ms_visit_t)(void*, const uint8_t*, size_t, blob_t*, int64_t) noexcept
    ctypedef void (*ms_changed_t)(void*, const uint8_t*, size_t) noexcept

    memstore_t* ms_new(uint64_t max_bytes, uint64_t max_keys, int evict_lru)
    void ms_free(memstore_t*)
    int ms_clear(memstore_t*, int64_t budget)
    void ms_stats(const memstore_t*, ms_stats_t*)
    int ms_is_full(const memstore_t*)
    void ms_resize(memstore_t*, uint64_t max_bytes, uint64_t max_keys)
    void ms_watch(memstore_t*, ms_changed_t, void*)
    blob_t* ms_get(memstore_t*, const uint8_t*, size_t, int64_t now_ns)
    int ms_set(memstore_t*, const uint8_t*, size_t, const uint8_t*, size_t, int64_t now_ns)
    int ms_set_until(memstore_t*, const uint8_t*, size_t, const uint8_t*, size_t, int64_t expires_ns, int64_t now_ns)
    int ms_delete(memstore_t*, const uint8_t*, size_t, int64_t now_ns)
    int ms_exists(memstore_t*, const uint8_t*, size_t, int64_t now_ns)
    int ms_expire(memstore_t*, const uint8_t*, size_t, int64_t expires_ns, int64_t now_ns)
    int64_t ms_expires(memstore_t*, const uint8_t*, size_t, int64_t now_ns)
    int ms_tick(memstore_t*, int64_t now_ns, int64_t budget)
    uint64_t ms_version(memstore_t*, const uint8_t*, size_t, int64_t now_ns)
    int ms_commit(memstore_t*, const ms_read_t*, size_t, ms_write_t*, size_t, int64_t now_ns)
    int ms_scan(memstore_t*, const uint8_t* prefix, size_t, const uint8_t* after, size_t, int64_t work, int64_t now_ns,
                ms_visit_t, void* context, const uint8_t** last, size_t* last_length)

cdef extern from "keyvalue/record_hash.h":
    uint64_t record_hash(const uint8_t*, size_t, const uint8_t*, size_t, int64_t) noexcept

cdef enum:
    NEVER = 0                   # the expiry of a record without one
    CHANGED_BYTES = 64 * 1024 * 1024    # that the keys of a watched store which changed may take
    CHANGED_KEY_BYTES = 96      # of these, for a key beside its bytes
    CHANGED_KEYS = 512          # keys in one answer of `changes`, at most
    DIGEST_KEYS = 512           # keys in one slice of a digest
    DIGEST_BYTES = 512 * 1024
    SCAN_KEYS = 512             # keys examined by one page of a scan, at most
    TELL_BYTES = 64 * 1024
    SCAN_BYTES = 256 * 1024     # of values copied by one page, beyond its first item
    TICK_UNITS = 32             # units of upkeep between two looks at the clock


class StoreSealed(Exception):
    """A write came after the store was sealed."""


class StoreFull(Exception):
    """A write would exceed `max_bytes` or `max_keys`."""


cdef struct Sum:
    # What the visitor of a digest adds to, up to the key `until` where that is not NULL.
    uint64_t records, value
    int64_t horizon, shift
    size_t bytes, until_length
    const uint8_t* until
    bint beyond


cdef inline const uint8_t* start(bytes data) noexcept:
    """NULL for None."""
    if data is None:
        return NULL
    return <const uint8_t*>PyBytes_AS_STRING(data)


cdef inline bytes copy_of(blob_t* blob):
    return PyBytes_FromStringAndSize(<const char*>blob.data, blob.length)


cdef inline bint same(blob_t* blob, bytes expected) noexcept:
    return blob.length == <size_t>PyBytes_GET_SIZE(expected) and memcmp(blob.data, start(expected), blob.length) == 0


cdef class MemStore:
    """Keys and values are bytes. Writes raise StoreFull, and change nothing, where the store is at its bound; where
    it is `sealed` they raise StoreSealed, and native handlers must look themselves."""

    def __cinit__(self, int64_t max_bytes, uint64_t max_keys=0, bint lru=False, clock=None):
        self.clock = clock
        self.store = ms_new(max_bytes, max_keys, lru)
        if self.store == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.store != NULL:
            ms_watch(self.store, NULL, NULL)
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

    cdef int check_open(self) except -1:
        if self.sealed:
            raise StoreSealed
        return 0

    def set(self, bytes key not None, bytes value not None):
        """Store a value and clear the expiry."""
        self.check_open()
        if ms_set(self.store, start(key), len(key), start(value), len(value), self.now()) != MS_OK:
            raise StoreFull

    def get(self, bytes key not None):
        cdef blob_t* blob = ms_get(self.store, start(key), len(key), self.now())
        return None if blob == NULL else copy_of(blob)

    def delete(self, bytes key not None):
        """True when the key existed."""
        self.check_open()
        return ms_delete(self.store, start(key), len(key), self.now()) != 0

    def exists(self, bytes key not None):
        return ms_exists(self.store, start(key), len(key), self.now()) != 0

    def expire(self, bytes key not None, int64_t ttl_ns):
        """Let the key expire in `ttl_ns`; 0 deletes it. True when it existed."""
        self.check_open()
        cdef int64_t now = self.now()
        cdef int64_t longest = INT64_MAX - 1 - now    # the very last moment means 'never'
        return ms_expire(self.store, start(key), len(key), now + (ttl_ns if ttl_ns < longest else longest), now) != 0

    def persist(self, bytes key not None):
        """True when an expiry was removed."""
        self.check_open()
        cdef int64_t now = self.now()
        cdef int64_t expires = ms_expires(self.store, start(key), len(key), now)
        if expires < 0 or expires == INT64_MAX:
            return False
        return ms_expire(self.store, start(key), len(key), INT64_MAX, now) != 0

    def ttl_ns(self, bytes key not None):
        """Nanoseconds left; -1 without expiry; None without key."""
        cdef int64_t now = self.now()
        cdef int64_t expires = ms_expires(self.store, start(key), len(key), now)
        if expires < 0:
            return None
        return -1 if expires == INT64_MAX else expires - now

    def compare_and_swap(self, bytes key not None, bytes expected, bytes value not None):
        """(True, None), or (False, the value found). `expected` None means the key must not exist."""
        self.check_open()
        cdef blob_t* blob = ms_get(self.store, start(key), len(key), self.now())
        if (blob == NULL) != (expected is None) or (blob != NULL and not same(blob, expected)):
            return False, None if blob == NULL else copy_of(blob)
        self.set(key, value)
        return True, None

    def compare_and_delete(self, bytes key not None, bytes expected not None):
        self.check_open()
        cdef blob_t* blob = ms_get(self.store, start(key), len(key), self.now())
        if blob == NULL or not same(blob, expected):
            return False, None if blob == NULL else copy_of(blob)
        ms_delete(self.store, start(key), len(key), self.now())
        return True, None

    def get_versioned(self, bytes key not None):
        """(value or None, version); versions never repeat, 0 is absence."""
        cdef int64_t now = self.now()
        cdef blob_t* blob = ms_get(self.store, start(key), len(key), now)
        return (None if blob == NULL else copy_of(blob)), ms_version(self.store, start(key), len(key), now)

    def commit(self, reads not None, writes not None):
        """Apply all writes if every key read still has its version. False on a conflict; StoreFull."""
        self.check_open()
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
                r[i].key, r[i].klen, r[i].version = start(key), len(key), version
            for i, (key, value) in enumerate(writes.items()):
                w[i].key, w[i].klen, w[i].value, w[i].vlen = start(key), len(key), start(value), len(value)
            rc = ms_commit(self.store, r, len(reads), w, len(writes), self.now())
        finally:
            free(r)
            free(w)
        if rc == MS_FULL:
            raise StoreFull
        return rc == MS_OK

    def scan(self, bytes prefix not None, bytes after, Py_ssize_t count, bint values):
        """One page in bytewise order: ([(key, value or None)], key to go on after, or None at the end).

        A page is bounded in work and bytes as well as in `count`: it may be short, even empty, and not be the last.
        """
        cdef Page page = Page.__new__(Page)
        cdef const uint8_t* last = NULL
        cdef size_t length = 0
        page.items, page.count, page.values = [], count, values
        if ms_scan(self.store, start(prefix), len(prefix), start(after),
                   0 if after is None else len(after), SCAN_KEYS, self.now(), visit, <void*>page, &last, &length):
            return page.items, None
        if page.error is not None:
            raise page.error
        return page.items, PyBytes_FromStringAndSize(<const char*>last, length)

    # --- moving to another process ----------------------------------------------------------------------------------

    def now_ns(self):
        return self.now()

    def watch(self, bint on):
        """Remember which keys change, or forget them. RuntimeError when somebody watches already."""
        if on and self.changed_keys is not None:
            raise RuntimeError("a move of this store has begun already")
        self.changed_keys = set() if on else None
        self.changed_bytes, self.changes_lost = 0, False
        if on:
            ms_watch(self.store, note_change, <void*>self)
        else:
            ms_watch(self.store, NULL, NULL)

    def changes(self):
        """Some of the keys that changed, as [(key, value or None, expiry or NEVER)]; each is told once. OverflowError
        when too many changed."""
        cdef int64_t now = self.now(), expires
        cdef blob_t* blob
        cdef bytes key
        cdef Py_ssize_t size = 0
        cdef list records = []
        if self.changes_lost or self.changed_keys is None:
            raise OverflowError("too many keys changed to be remembered")
        while self.changed_keys and len(records) < CHANGED_KEYS and size <= SCAN_BYTES:
            key = self.changed_keys.pop()
            self.changed_bytes -= len(key) + CHANGED_KEY_BYTES
            expires = ms_expires(self.store, start(key), len(key), now)
            self.forget((key,))     # that it had expired was noted by looking
            blob = NULL if expires < 0 else ms_get(self.store, start(key), len(key), now)
            records.append((key, None if blob == NULL else copy_of(blob), NEVER if expires == INT64_MAX else expires))
            size += len(key) + (0 if blob == NULL else <Py_ssize_t>blob.length)
        return records

    def records(self, bytes after):
        """A page of ([(key, value, expiry or NEVER)], key to go on after, or None at the end)."""
        cdef Page page = Page.__new__(Page)
        cdef const uint8_t* last = NULL
        cdef size_t length = 0
        page.items, page.count, page.values, page.expiries = [], SCAN_KEYS, True, True
        if ms_scan(self.store, start(b""), 0, start(after),
                   0 if after is None else len(after), SCAN_KEYS, self.now(), visit, <void*>page, &last, &length):
            return page.items, None
        if page.error is not None:
            raise page.error
        return page.items, PyBytes_FromStringAndSize(<const char*>last, length)

    def put_until(self, bytes key not None, bytes value not None, int64_t expires_ns):
        """Store a value that expires at a moment of the clock."""
        if ms_set_until(self.store, start(key), len(key), start(value), len(value), expires_ns, self.now()) != MS_OK:
            raise StoreFull

    def forget(self, keys not None):
        """These keys have not changed."""
        cdef bytes key
        if self.changed_keys is None:
            return
        for key in keys:
            if key in self.changed_keys:
                self.changed_keys.discard(key)
                self.changed_bytes -= len(key) + CHANGED_KEY_BYTES

    def digest(self, bytes after, bytes until, int64_t horizon, int64_t shift):
        """(records, sum of their hashes, key up to which they go) of a slice of the keys behind `after` up to `until`,
        which is returned where these were all. Expiries are those of the source and `shift`; what expires before the
        source's `horizon` is left out."""
        cdef Sum total
        cdef const uint8_t* last = NULL
        cdef size_t length = 0
        cdef int ended
        init_sum(&total, horizon, shift)
        if until is not None:
            total.until, total.until_length = start(until), len(until)
        ended = ms_scan(self.store, start(b""), 0, start(after),
                        0 if after is None else len(after), DIGEST_KEYS, self.now(), add_to_sum, &total, &last, &length)
        if ended or total.beyond:
            return total.records, total.value, until
        return total.records, total.value, PyBytes_FromStringAndSize(<const char*>last, length)

    def digest_of(self, keys not None, int64_t horizon, int64_t shift):
        """As `digest`, of some keys: (records, sum of their hashes)."""
        cdef Sum total
        cdef int64_t now = self.now(), expires
        cdef bytes key
        init_sum(&total, horizon, shift)
        for key in keys:
            expires = ms_expires(self.store, start(key), len(key), now)
            if expires >= 0:
                add_record(&total, start(key), len(key), ms_get(self.store, start(key), len(key), now), expires)
        return total.records, total.value

    def tick(self, int64_t budget):
        """Up to `budget` units of upkeep (expiry, eviction), about 1 µs each; True when more may be due."""
        return ms_tick(self.store, self.now(), budget) != 0

    def keep_up(self, int64_t slice_ns):
        """Upkeep for about `slice_ns`; True when more is due."""
        cdef int64_t end = monotonic_ns() + slice_ns
        while ms_tick(self.store, self.now(), TICK_UNITS):
            if monotonic_ns() >= end:
                return True
        return False

    def resize(self, int64_t max_bytes, uint64_t max_keys=0):
        """New bounds. What is over them stays, and further writes are refused; a store that evicts drops it in upkeep.
        """
        ms_resize(self.store, max_bytes, max_keys)

    def clear(self, int64_t budget):
        """Remove up to `budget` keys; True while some are left."""
        return ms_clear(self.store, budget) != 0

    def is_full(self):
        return ms_is_full(self.store) != 0

    def counters(self):
        """keys, bytes (overhead included), reserved (bytes mapped), expired, evicted, refused, pinned (bytes of values
        that only replies hold)."""
        cdef ms_stats_t stats
        ms_stats(self.store, &stats)
        return {"keys": stats.keys, "bytes": stats.bytes, "reserved": stats.reserved, "expired": stats.expired,
                "evicted": stats.evicted, "refused": stats.refused, "pinned": stats.pinned}


cdef class MessageBytes:
    """What messages hold of the `max_bytes` of a namespace: `take` before something is held, `give` when it is let go
    of. The store hears of it in steps of `TELL_BYTES`."""

    def __cinit__(self, MemStore store not None, int64_t max_bytes, uint64_t max_keys):
        self.store, self.max_bytes, self.max_keys = store, max_bytes, max_keys

    def take(self, int64_t size) -> None:
        """StoreFull when it does not fit beside keys, values and what is held."""
        if not self.fits(size):
            raise StoreFull

    def give(self, int64_t size) -> None:
        self.change(-size)

    def resize(self, int64_t max_bytes, uint64_t max_keys) -> None:
        """New bounds of the namespace."""
        self.max_bytes, self.max_keys = max_bytes, max_keys
        self.tell()

    cdef bint fits(self, int64_t size) noexcept:
        """Take so many bytes; False when they do not fit."""
        cdef ms_stats_t stats
        ms_stats(self.store.store, &stats)
        if self.held + size + <int64_t>stats.bytes > self.max_bytes:
            self.refused += 1
            return False
        self.change(size)
        return True

    cdef void change(self, int64_t size) noexcept:
        self.held += size
        if not -TELL_BYTES < self.held - self.told < TELL_BYTES:
            self.tell()

    cdef void tell(self) noexcept:
        self.told = self.held
        ms_resize(self.store.store, <uint64_t>max(self.max_bytes - self.held, 1), self.max_keys)


cdef class Page:
    """What the visitor of a scan fills."""
    cdef list items
    cdef Py_ssize_t count, copied
    cdef bint values, expiries
    cdef object error


cdef int visit(void* context, const uint8_t* key, size_t n, blob_t* value, int64_t expires) noexcept:
    cdef Page page = <Page>context
    cdef Py_ssize_t items = len(page.items)
    if items and (items >= page.count or (page.values and page.copied + <Py_ssize_t>value.length > SCAN_BYTES)):
        return 0
    try:
        name = PyBytes_FromStringAndSize(<const char*>key, n)
        found = copy_of(value) if page.values else None
        page.items.append((name, found, NEVER if expires == INT64_MAX else expires) if page.expiries else (name, found))
    except MemoryError as error:
        page.error = error
        return 0
    page.copied += <Py_ssize_t>value.length
    return 1


cdef void init_sum(Sum* total, int64_t horizon, int64_t shift) noexcept:
    total.records, total.value, total.bytes, total.horizon, total.shift = 0, 0, 0, horizon, shift
    total.until, total.until_length, total.beyond = NULL, 0, False


cdef void add_record(Sum* total, const uint8_t* key, size_t n, blob_t* value, int64_t expires) noexcept:
    expires = NEVER if expires == INT64_MAX else expires - total.shift
    if expires == NEVER or expires > total.horizon:
        total.records += 1
        total.value += record_hash(key, n, value.data, value.length, expires)
        total.bytes += n + value.length


cdef int add_to_sum(void* context, const uint8_t* key, size_t n, blob_t* value, int64_t expires) noexcept:
    cdef Sum* total = <Sum*>context
    if total.until != NULL and is_behind(key, n, total.until, total.until_length):
        total.beyond = True
        return 0
    if total.bytes > DIGEST_BYTES:
        return 0
    add_record(total, key, n, value, expires)
    return 1


cdef inline bint is_behind(const uint8_t* a, size_t an, const uint8_t* b, size_t bn) noexcept:
    cdef int order = memcmp(a, b, an if an < bn else bn)
    return order > 0 or (order == 0 and an > bn)


cdef void note_change(void* watcher, const uint8_t* key, size_t n) noexcept:
    cdef MemStore store = <MemStore>watcher
    cdef Py_ssize_t before
    if store.changes_lost:
        return
    try:
        before = len(store.changed_keys)
        store.changed_keys.add(PyBytes_FromStringAndSize(<const char*>key, n))
        if len(store.changed_keys) != before:
            store.changed_bytes += <Py_ssize_t>n + CHANGED_KEY_BYTES
    except MemoryError:
        store.changes_lost = True
    if store.changed_bytes > CHANGED_BYTES:
        store.changes_lost = True
    if store.changes_lost:
        store.changed_keys = set()
