"""The messages of one PublishBatch or PublishStream that are on their way to a broker.

A broker may answer them in another order than they were sent in, where several connections lead to it; their caller
gets the results in the order of the requests.

    begin() -> sent -> [waiting] -> settle() -> oldest() -> answered: first += 1
       `-- not sent: retract()
"""
from cython cimport final, freelist, no_gc

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc


cdef class InFlight:
    def __dealloc__(self):
        free(self.ring)

    cdef uint8_t* begin(self) noexcept:
        """Another message, the last; where its id goes, before the next `begin`. NULL without memory."""
        cdef result_t* result
        if self.tail - self.first == self.capacity and not self.grow():
            return NULL
        result = &self.ring[self.tail & (self.capacity - 1)]
        result.state = WAITING
        self.tail += 1
        self.unsettled += 1
        return result.message_id

    cdef bint grow(self) noexcept:
        cdef uint32_t capacity = self.capacity * 2 if self.capacity else 64
        cdef result_t* ring = <result_t*>malloc(capacity * sizeof(result_t))
        cdef uint64_t i
        if ring == NULL:
            return False
        for i in range(self.first, self.tail):
            ring[i & (capacity - 1)] = self.ring[i & (self.capacity - 1)]
        free(self.ring)
        self.ring, self.capacity = ring, capacity
        return True

    cdef void retract(self) noexcept:
        """The message that began last was not sent."""
        self.tail -= 1
        self.unsettled -= 1

    cdef void settle(self, uint64_t number, bytes failure) noexcept:
        """The broker has a message, or `failure` says why not."""
        self.unsettled -= 1
        if failure is not None:
            if self.failures is None:
                self.failures = {}
            self.failures[number] = failure
        self.ring[number & (self.capacity - 1)].state = STORED if failure is None else FAILED
        self.settled()

    cdef result_t* oldest(self) noexcept:
        """The first result that is not answered yet; NULL while there is none."""
        cdef result_t* result
        if self.first == self.tail:
            return NULL
        result = &self.ring[self.first & (self.capacity - 1)]
        return NULL if result.state == WAITING else result

    cdef void settled(self) noexcept:
        pass


@final
@no_gc
@freelist(1024)
cdef class InFlightMessage:
    pass
