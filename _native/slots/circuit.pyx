"""What native handlers need of a circuit breaker: one flag to read, one store for a success, a count for a failure.

States, time and probes belong to `prism_proxy.slots.circuit.Circuit`, which extends this. A native handler calls the
backend only while `closed`; whatever else is the matter, it hands the call to the servicer.
"""


cdef class CircuitCore:
    def __init__(self, int max_failures):
        self.closed = True
        self.max_failures = max_failures

    cdef void failed(self, str reason) noexcept:
        """A call failed by the backend's fault; one failure too many opens the circuit."""
        if not self.closed:
            return
        self.failures += 1
        if self.failures >= self.max_failures:
            self.tripped(reason)

    def record_success(self):
        self.failures = 0

    def record_failure(self, str reason not None):
        """As native handlers report it; `reason` is that of the error."""
        self.failed(reason)

    def set_closed(self, bint closed):
        """For the state machine alone."""
        self.closed = closed
        self.failures = 0

    def tripped(self, str reason):
        """`max_failures` calls in a row failed: the state machine opens the circuit."""
        self.closed = False
