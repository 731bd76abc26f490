"""The messages of one call that are on their way to a broker, and what became of them."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from prism_proxy._native.grpc.call cimport ServerStream

cdef enum:
    WAITING = 0
    STORED = 1
    FAILED = 2

cdef struct result_t:
    uint8_t state
    uint8_t message_id[36]


cdef class InFlight:
    """Results by number; those from `first` to `tail` are not answered to the caller yet."""
    cdef ServerStream stream        # None once nobody wants the results
    cdef result_t* ring
    cdef uint32_t capacity, unsettled
    cdef uint64_t first, tail
    cdef dict failures              # by number, encoded PublishResponses

    cdef uint8_t* begin(self) noexcept
    cdef bint grow(self) noexcept
    cdef void retract(self) noexcept
    cdef void settle(self, uint64_t number, bytes failure) noexcept
    cdef result_t* oldest(self) noexcept
    # Upcall: a message has its result.
    cdef void settled(self) noexcept


cdef class InFlightMessage:
    """What a connection gives back with the broker's reply."""
    cdef InFlight call
    cdef uint64_t number
