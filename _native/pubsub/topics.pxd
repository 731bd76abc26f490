"""Which outlets a topic reaches, as native code looks it up for each message."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct topic_t:
    topic_t* next
    uint64_t hash
    bint declined           # its messages are for the servicer
    bint blocking           # an outlet wants publishers to wait for it
    uint32_t count
    void** targets          # an object with a reference each: Outlet, or what else a publisher needs for the topic
    size_t length
    uint8_t name[1]         # `length` bytes


cdef class TopicTable:
    cdef object resolve
    cdef topic_t** heads
    cdef topic_t* last
    cdef size_t size, used
    cdef uint64_t seed[2]

    cdef topic_t* find(self, const uint8_t* name, size_t n) noexcept
    cdef topic_t* known(self, const uint8_t* name, size_t n, uint64_t hash) noexcept
    cdef topic_t* add(self, const uint8_t* name, size_t n, uint64_t hash) except? NULL
    cdef void empty(self) noexcept
