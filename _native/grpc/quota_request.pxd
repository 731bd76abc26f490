"""A request that may count towards the limits of its namespace."""
from libc.stdint cimport int64_t

from prism_proxy._native.grpc.quota cimport NamespaceQuota
from prism_proxy._native.grpc.request_head cimport RequestHead


cdef class QuotaRequest(RequestHead):
    cdef NamespaceQuota quota              # that admitted it, until it is over; None when there is none
    cdef int64_t quota_bytes

    cdef bint enter_quota(self, NamespaceQuota quota) noexcept
    cdef void leave_quota(self, bint over) noexcept
    cdef bint count_in_quota(self, size_t n, size_t announced, bint streaming) noexcept
    # Upcall.
    cdef void refuse(self, NamespaceQuota quota, int kind) noexcept
