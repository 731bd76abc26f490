"""A request at the gate of its namespace: it enters once, counts for the bytes it holds, and leaves once.

It keeps the gate that admitted it, whatever becomes of its route.
"""
cimport cython

from prism_proxy._native.gate cimport ADMITTED, Gate
from prism_proxy._native.request_head cimport RequestHead


@cython.no_gc
cdef class GatedRequest(RequestHead):
    cdef bint enter_gate(self, Gate gate) noexcept:
        cdef int refused = gate.enter(self.opened_ns)
        if refused != ADMITTED:
            self.refuse(gate, refused)
            return False
        self.gate = gate
        return True

    cdef void leave_gate(self, bint over) noexcept:
        """Leave if the call is over: closed, and its handler has ended."""
        if over and self.gate is not None:
            self.gate.leave(self.gated_bytes)
            self.gate = None

    cdef bint hold_at_gate(self, size_t n, size_t announced, bint streaming) noexcept:
        """Count `n` request bytes from now on, of a message of `announced`; False: too many, and it is refused."""
        cdef int refused = self.gate.hold(&self.gated_bytes, n, announced, streaming)
        if refused != ADMITTED:
            self.refuse(self.gate, refused)
            if self.gate is not None:
                self.gate.hold(&self.gated_bytes, 0, 0, False)
        return refused == ADMITTED

    cdef void refuse(self, Gate gate, int kind) noexcept:
        pass
