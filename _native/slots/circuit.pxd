"""The part of a circuit breaker that native handlers consult and report to."""


cdef class CircuitCore:
    cdef readonly bint closed       # handlers may call the backend; otherwise the servicer's slot answers
    cdef readonly int failures      # in a row, while closed
    cdef readonly int max_failures

    cdef inline void succeeded(self) noexcept:
        self.failures = 0

    cdef void failed(self, str reason) noexcept
