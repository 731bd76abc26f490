"""The messages of a queue in memory, by their state."""
from libc.stdint cimport int64_t, uint8_t, uint64_t

from prism_proxy._native.memstore.store cimport MessageBytes

cdef enum:
    PRIORITIES = 11
    MAX_RECEIPT = 64        # bytes of a receipt


cdef enum:
    # where an entry is
    GONE = 0
    TAKEN = 1               # out of its line; the caller leases or forgets it
    READY = 2
    SCHEDULED = 3
    LEASED = 4


cdef class Entry:
    cdef object kept                    # the StoredMessage, or None while `body` alone has it
    cdef bytes body                     # a QueueMessage without receive_count and receipt, or None
    cdef readonly int priority, receives
    cdef readonly int64_t enqueued_ms, expires_ms, size
    cdef readonly uint64_t sequence
    cdef public str reason              # why it was given back last
    cdef int state
    cdef int64_t due_ms                 # of its lease or schedule
    cdef void* before                   # neighbours in its line, while it is ready
    cdef void* behind
    cdef Py_ssize_t place               # in the heap of leases or schedules
    cdef Py_ssize_t expiry              # in that of expiries; -1 while it is not there


cdef class DueHeap:
    cdef void** slots                   # entries, which belong to the queue
    cdef Py_ssize_t size, capacity
    cdef bint by_expiry
    cdef int64_t due(self, void* entry) noexcept
    cdef bint sooner(self, void* one, void* other) noexcept
    cdef void put(self, Py_ssize_t place, void* entry) noexcept
    cdef void settle(self, Py_ssize_t place, void* entry) noexcept
    cdef int push(self, Entry entry) except -1
    cdef void remove(self, Entry entry) noexcept
    cdef int64_t first_due(self) noexcept


cdef class QueueEntries:
    cdef readonly dict entries          # all that the queue holds, by sequence
    cdef void* first[PRIORITIES]        # of the lines of ready entries
    cdef void* last[PRIORITIES]
    cdef DueHeap leases, schedule, expiries
    cdef readonly Py_ssize_t ready_count
    cdef public Py_ssize_t waiting      # callers that wait for a message
    cdef int join(self, Entry entry) except -1
    cdef int line_up(self, Entry entry) except -1
    cdef void unlink(self, Entry entry) noexcept
    cdef int64_t drop(self, Entry entry)
    cdef Entry head(self)
    cdef Entry following(self, Entry entry)
    cdef int lend(self, Entry entry, int64_t due_ms) except -1
    cdef Entry leased(self, const uint8_t* receipt, size_t n)
    cdef int ripen(self, int64_t now_ms) except -1


cdef bint is_expired(Entry entry, int64_t now_ms) noexcept
cdef size_t put_receipt(Entry entry, uint8_t* out) noexcept
cdef Entry new_entry(bytes body, int priority, int64_t enqueued_ms, int64_t size)
