from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "memstore/blob.h":
    ctypedef struct blob_t:
        uint32_t refs
        size_t length
        const uint8_t* data

    void blob_ref(blob_t*)
    void blob_unref(blob_t*)

cdef extern from "memstore/store.h":
    ctypedef struct memstore_t:
        pass

    enum:
        MS_OK, MS_FULL, MS_CONFLICT


cdef class MemStore:
    cdef memstore_t* store
    cdef object clock
    cdef set changed_keys       # None while nobody watches
    cdef Py_ssize_t changed_bytes
    cdef bint changes_lost
    cdef public bint sealed     # writes are refused: the data are on their way to another process
    cdef int64_t now(self) except -1
    cdef int check_open(self) except -1
    # For native handlers: the C functions of the same meaning, which only this module is linked with.
    cdef blob_t* native_get(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept
    cdef int native_set(self, const uint8_t* key, size_t n, const uint8_t* value, size_t m, int64_t now_ns) noexcept
    cdef int native_delete(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept
    cdef int native_exists(self, const uint8_t* key, size_t n, int64_t now_ns) noexcept


cdef class MessageBytes:
    cdef MemStore store
    cdef int64_t max_bytes, told
    cdef uint64_t max_keys
    cdef readonly int64_t held
    cdef readonly uint64_t refused
    cdef bint fits(self, int64_t size) noexcept
    cdef void change(self, int64_t size) noexcept
    cdef void tell(self) noexcept
