"""Which outlets a topic reaches, as native code looks it up for each message.

A driver knows its subscriptions; this table remembers what it said of a topic until it says that this changed. So a
published message costs one lookup, whatever patterns there are. Loop thread only.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from prism_proxy._native.grpc.outlet cimport BLOCK, Outlet

import os

cdef extern from "memstore/siphash.h" nogil:
    uint64_t siphash13(const uint64_t* seed, const uint8_t* data, size_t n)

cdef enum:
    HEADS = 4096
    MOST_TOPICS = 16 * 1024     # remembered; then all are forgotten, and asked for again


cdef class TopicTable:
    """`resolve(topic)` answers the outlets that its messages reach, or what else a publisher needs; None: they are for
    the servicer. It raises for a name that is none, which is not remembered."""

    def __cinit__(self, resolve not None):
        self.resolve = resolve
        self.size = HEADS
        self.heads = <topic_t**>calloc(HEADS, sizeof(topic_t*))
        if self.heads == NULL:
            raise MemoryError
        seed = os.urandom(16)
        memcpy(self.seed, <const char*>seed, 16)

    def __dealloc__(self):
        if self.heads != NULL:
            self.empty()
            free(self.heads)

    def __len__(self):
        return self.used

    def forget(self, str topic not None) -> None:
        """What this topic reaches has changed."""
        cdef bytes name = topic.encode()
        cdef uint64_t hash = siphash13(self.seed, name, len(name))
        cdef topic_t** place = &self.heads[hash & (self.size - 1)]
        cdef topic_t* found
        while place[0] != NULL:
            found = place[0]
            if found.hash == hash and found.length == <size_t>len(name) and memcmp(
                    found.name, <const char*>name, found.length) == 0:
                place[0] = found.next
                self.used -= 1
                self.last = NULL
                drop(found)
                return
            place = &found.next

    def clear(self) -> None:
        """What any topic reaches may have changed."""
        self.empty()

    cdef void empty(self) noexcept:
        cdef topic_t* found
        cdef size_t i
        self.last = NULL
        if self.used == 0:
            return
        for i in range(self.size):
            while self.heads[i] != NULL:
                found = self.heads[i]
                self.heads[i] = found.next
                drop(found)
        self.used = 0

    cdef topic_t* find(self, const uint8_t* name, size_t n) noexcept:
        """What a topic reaches, until the next call of this table; NULL when it is none."""
        cdef topic_t* found = self.last
        cdef uint64_t hash
        if found != NULL and found.length == n and memcmp(found.name, name, n) == 0:
            return found
        hash = siphash13(self.seed, name, n)
        found = self.known(name, n, hash)
        if found == NULL:
            try:
                found = self.add(name, n, hash)
            except Exception:       # the servicer says what is wrong with it
                return NULL
        self.last = found
        return found

    cdef topic_t* known(self, const uint8_t* name, size_t n, uint64_t hash) noexcept:
        cdef topic_t* found = self.heads[hash & (self.size - 1)]
        while found != NULL and (found.hash != hash or found.length != n or memcmp(found.name, name, n) != 0):
            found = found.next
        return found

    cdef topic_t* add(self, const uint8_t* name, size_t n, uint64_t hash) except? NULL:
        reached = self.resolve(PyBytes_FromStringAndSize(<const char*>name, n).decode())
        cdef list targets = [] if reached is None else list(reached)
        cdef topic_t* made = <topic_t*>malloc(sizeof(topic_t) + n)
        cdef topic_t** head = &self.heads[hash & (self.size - 1)]
        if made == NULL:
            raise MemoryError
        made.targets = <void**>malloc(max(1, len(targets)) * sizeof(void*))
        if made.targets == NULL:
            free(made)
            raise MemoryError
        made.hash, made.length, made.count, made.blocking = hash, n, 0, False
        made.declined = reached is None
        memcpy(made.name, name, n)
        for target in targets:
            Py_INCREF(target)
            made.targets[made.count] = <void*>target
            made.count += 1
            made.blocking = made.blocking or (isinstance(target, Outlet) and (<Outlet>target).policy == BLOCK)
        if self.used >= MOST_TOPICS:
            self.empty()
        made.next = head[0]
        head[0] = made
        self.used += 1
        return made


cdef void drop(topic_t* topic) noexcept:
    cdef uint64_t i
    for i in range(topic.count):
        Py_DECREF(<object>topic.targets[i])
    free(topic.targets)
    free(topic)
