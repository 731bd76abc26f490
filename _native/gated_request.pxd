"""A request that may count towards the limits of its namespace."""
from libc.stdint cimport int64_t

from prism_proxy._native.gate cimport Gate
from prism_proxy._native.request_head cimport RequestHead


cdef class GatedRequest(RequestHead):
    cdef Gate gate              # that admitted it, until it is over; None when there is none
    cdef int64_t gated_bytes

    cdef bint enter_gate(self, Gate gate) noexcept
    cdef void leave_gate(self, bint over) noexcept
    cdef bint hold_at_gate(self, size_t n, size_t announced, bint streaming) noexcept
    # Upcall.
    cdef void refuse(self, Gate gate, int kind) noexcept
