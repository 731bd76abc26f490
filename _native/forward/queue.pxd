from libc.stdint cimport int64_t

from prism_proxy._native.grpc.call cimport Handler
from prism_proxy._native.forward.request cimport ForwardRequest


cdef class ForwardQueue(Handler):
    cdef void* newest                   # of all calls
    cdef void* first_waiting
    cdef void* last_waiting
    cdef readonly int64_t calls, waiting, waiting_bytes

    cdef void enlist(self, ForwardRequest call) noexcept
    cdef void forget(self, ForwardRequest call) noexcept
    cdef void queue(self, ForwardRequest call) noexcept
    cdef void unqueue(self, ForwardRequest call) noexcept
