"""Request messages of a stream that its servicer has not read yet.

Small ones stand behind each other in one buffer. A large one becomes the object that the servicer reads as soon as it
is whole, so that its bytes are copied once.
"""
from collections import deque

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memmove

from prism_proxy._native.http2.buffers cimport buffer_append, buffer_free

cdef enum:
    KEPT_BYTES = 1 << 14        # an empty buffer of more than this is given back
    LARGE_BYTES = 1 << 14
    APART = 0xFFFFFFFF          # instead of a length: the next of the large ones


cdef class UnreadMessages:
    def __cinit__(self):
        self.large = deque()

    def __dealloc__(self):
        buffer_free(&self.small)

    cdef bint empty(self) noexcept:
        return self.start == self.small.length

    cdef bint keep(self, const uint8_t* data, size_t n) noexcept:
        """False without memory."""
        cdef uint32_t length = APART if n >= LARGE_BYTES else <uint32_t>n
        cdef size_t before = self.small.capacity
        try:
            if n >= LARGE_BYTES:
                self.large.append(PyBytes_FromStringAndSize(<char*>data, n))
                self.held += n
        except MemoryError:
            return False
        if buffer_append(&self.small, &length, 4) or (n < LARGE_BYTES and buffer_append(&self.small, data, n)):
            return False
        self.held += <int64_t>self.small.capacity - <int64_t>before
        return True

    cdef bytes take(self):
        """The first one; there is one."""
        cdef uint32_t length
        cdef size_t before = self.small.capacity
        cdef bytes message
        memcpy(&length, self.small.data + self.start, 4)
        self.start += 4
        if length == APART:
            message = self.large.popleft()
            self.held -= PyBytes_GET_SIZE(message)
        else:
            message = PyBytes_FromStringAndSize(<char*>self.small.data + self.start, length)
            self.start += length
        if self.start == self.small.length:
            self.start = self.small.length = 0
            if self.small.capacity > KEPT_BYTES:
                buffer_free(&self.small)
        elif self.start > self.small.length // 2:
            self.small.length -= self.start
            memmove(self.small.data, self.small.data + self.start, self.small.length)
            self.start = 0
        self.held += <int64_t>self.small.capacity - <int64_t>before
        return message

    cdef void drop(self) noexcept:
        self.large = deque()
        buffer_free(&self.small)
        self.start = 0
        self.held = 0
