"""A request at the quota of its namespace: it enters once, counts for the bytes it holds, and leaves once.

It keeps the quota that admitted it, whatever becomes of its route.
"""
cimport cython

from prism_proxy._native.grpc.quota cimport ADMITTED, NamespaceQuota
from prism_proxy._native.grpc.request_head cimport RequestHead


@cython.no_gc
cdef class QuotaRequest(RequestHead):
    cdef bint enter_quota(self, NamespaceQuota quota) noexcept:
        cdef int refused = quota.enter(self.opened_ns)
        if refused != ADMITTED:
            self.refuse(quota, refused)
            return False
        self.quota = quota
        return True

    cdef void leave_quota(self, bint over) noexcept:
        """Leave if the call is over: closed, and its handler has ended."""
        if over and self.quota is not None:
            self.quota.leave(self.quota_bytes)
            self.quota = None

    cdef bint count_in_quota(self, size_t n, size_t announced, bint streaming) noexcept:
        """Count `n` request bytes from now on, of a message of `announced`; False: too many, and it is refused."""
        cdef int refused = self.quota.account(&self.quota_bytes, n, announced, streaming)
        if refused != ADMITTED:
            self.refuse(self.quota, refused)
            if self.quota is not None:
                self.quota.account(&self.quota_bytes, 0, 0, False)
        return refused == ADMITTED

    cdef void refuse(self, NamespaceQuota quota, int kind) noexcept:
        pass
