from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "memstore.h":
    ctypedef struct blob_t:
        uint32_t refs
        size_t length
        const uint8_t* data

    blob_t* blob_ref(blob_t*)
    void blob_unref(blob_t*)

    ctypedef struct memstore_t:
        pass

    enum:
        MS_OK, MS_FULL, MS_CONFLICT, MS_SCAN_STEPS

    ctypedef struct ms_counters_t:
        uint64_t keys, expired, evicted, refused
        int64_t bytes

    ctypedef struct ms_item_t:
        const uint8_t* key
        size_t key_length
        blob_t* value

    ctypedef struct ms_read_t:
        const uint8_t* key
        size_t key_length
        uint64_t version

    ctypedef struct ms_write_t:
        const uint8_t* key
        const uint8_t* value
        size_t key_length, value_length

    memstore_t* ms_new(int64_t max_bytes, uint64_t max_keys, int lru, int64_t now_ns, const uint8_t* seed)
    void ms_free(memstore_t*)
    ms_counters_t ms_counters(const memstore_t*)
    int ms_is_full(const memstore_t*)
    blob_t* ms_get(memstore_t*, const uint8_t* key, size_t, int64_t now_ns)
    blob_t* ms_get_versioned(memstore_t*, const uint8_t* key, size_t, int64_t now_ns, uint64_t* version)
    int ms_exists(memstore_t*, const uint8_t* key, size_t, int64_t now_ns)
    int ms_set(memstore_t*, const uint8_t* key, size_t, const uint8_t* value, size_t, int64_t now_ns)
    int ms_delete(memstore_t*, const uint8_t* key, size_t, int64_t now_ns)
    int ms_expire(memstore_t*, const uint8_t* key, size_t, int64_t deadline_ns, int64_t now_ns)
    int ms_persist(memstore_t*, const uint8_t* key, size_t, int64_t now_ns)
    int64_t ms_deadline(memstore_t*, const uint8_t* key, size_t, int64_t now_ns)
    int ms_commit(memstore_t*, const ms_read_t*, size_t, const ms_write_t*, size_t, int64_t now_ns)
    size_t ms_scan(memstore_t*, const uint8_t* prefix, size_t, const uint8_t* after, size_t, int64_t now_ns,
                   ms_item_t* items, size_t most, ms_item_t* last, int* more)
    int ms_tick(memstore_t*, int64_t now_ns, int budget)


cdef class MemStore:
    cdef memstore_t* store
    cdef object clock
    cdef int64_t now(self) except -1
    # For native handlers: the C functions of the same meaning, which only this module is linked with.
    cdef blob_t* native_get(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept
    cdef int native_set(self, const uint8_t* key, size_t n, const uint8_t* value, size_t m, int64_t now_ns) noexcept
    cdef int native_delete(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept
    cdef int native_exists(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept
