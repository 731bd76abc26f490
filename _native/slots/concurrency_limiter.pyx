"""The native part of the concurrency limiter: permits to take and give back, and a window that times their calls.

The queue and the limit belong to `prism_proxy.slots.concurrency_limiter.ConcurrencyLimiter`, which extends this; stalls
of the process to `prism_proxy.slots.stall_clock.StallCompensatedClock`. Calls of native handlers and of servicers are
counted and timed here together. A call costs no object: its times go to an array, of which a window leaves two medians.
"""
import logging

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc

from prism_proxy._native.grpc.wire import percent_encode

_log = logging.getLogger("prism.server")

cdef enum:
    FRESH_REFUSAL_NS = 20_000_000   # for so long the trailers of a refusal serve for other calls
    VARIANTS = 8                    # of them, which spread the return of the callers
    MIN_SAMPLES = 10
    MAX_SAMPLES = 1000
    FIRST_SAMPLES = 64      # room for so many, which grows


cdef class StallClockCore:
    """`counts_work`: time for which this thread works is left out too."""

    def __init__(self, bint counts_work=False):
        self.counts_work = counts_work
        self.due = INFINITY

    def at(self, double wall) -> float:
        """How many seconds this process has stood ready at `wall`, which is now."""
        return self.running(wall)

    def expect(self, double due) -> None:
        """A timer fires then, or never."""
        self.due = due
        self.work = self.worked()

    def watch(self) -> None:
        """Something is timed from now on: there must be a timer."""


cdef class ConcurrencyCore:
    """`now`: seconds of the stall-compensated clock, as all times here but those that `passed` on the wall."""

    def __init__(self, StallClockCore clock not None, double now):
        self.clock = clock
        self.opened = now
        self.refusals = {}

    def __dealloc__(self):
        free(self.took)
        free(self.passed)

    # --- for the state machine alone ----------------------------------------------------------------------------

    def take(self) -> None:
        """A call goes to the backend."""
        self.permit_taken()

    def give_back(self) -> None:
        """It does not, or came back; nobody takes its place yet."""
        self.permit_returned()

    def observe(self, double began, double now, double passed) -> None:
        """A call ended, whose time tells of the backend."""
        self.observed(began, now, passed)

    def set_limit(self, int allowed, double window_s) -> None:
        """So many calls may be at the backend, and windows are so long."""
        self.allowed = allowed
        self.length = window_s

    def set_queues(self, bint queue, bint queues) -> None:
        """Whether calls wait that go before others, and whether any wait."""
        self.queue = queue
        self.queues = queues

    def join(self, permit, *, bint bulk=False) -> bool:
        """Wait in the queue: `permit.set_result` gets True with the permit, False when the call is shed. False: the
        queue is full."""
        raise NotImplementedError

    def serve(self) -> None:
        """Those who wait take the places that are free."""

    def window_closed(self, double latency, double at_most, int peak, double now) -> None:
        """The medians of a window's calls, by its readiness and by the wall, and how many there were at once."""

    def refusal(self, str operation not None) -> Exception:
        """The error of a call that got no permit."""
        raise NotImplementedError

    cdef list refusal_trailers(self, str operation, int64_t now_ns, object describe):
        """The trailers of a call that got no permit. A shed call must cost less than a served one, so they are encoded
        once for many calls; `describe` is that of `prism_proxy.errors`."""
        made = self.refusals.get(operation)
        if made is None or now_ns >= <int64_t>made[0]:
            try:
                made = (now_ns + FRESH_REFUSAL_NS, self.encoded_refusals(operation, describe))
            except Exception as error:
                _log.error("a refusal could not be encoded", exc_info=error)
                return [(b"grpc-status", b"8")]
            self.refusals[operation] = made
        self.refused += 1
        return made[1][self.refused % VARIANTS]

    cdef list encoded_refusals(self, str operation, object describe):
        error = self.refusal(operation)
        code, message, extra = describe(error, "")
        common = [(b"grpc-status", b"%d" % code), (b"grpc-message", percent_encode(message)),
                  *(pair for pair in extra if pair[0] not in (b"x-request-id", b"grpc-retry-pushback-ms"))]
        return [[*common, (b"grpc-retry-pushback-ms", b"%d" % (1000 * error.retry_after * (1 + variant / VARIANTS)))]
                for variant in range(VARIANTS)]

    # --- the window ---------------------------------------------------------------------------------------------

    cdef void observed(self, double began, double now, double passed) noexcept:
        cdef int count, peak
        if began < self.opened or (self.count == self.capacity and self.grow()):
            return      # it ran under another limit
        self.took[self.count] = now - began
        self.passed[self.count] = passed
        self.count += 1
        if self.in_flight > self.peak:
            self.peak = self.in_flight
        if self.count < MAX_SAMPLES and (self.count < MIN_SAMPLES or now - self.opened < self.length):
            return
        count, peak = self.count, self.peak
        self.count = self.peak = 0
        self.opened = now
        self.window_closed(median(self.took, count), median(self.passed, count), peak, now)

    cdef int grow(self) noexcept:
        cdef int capacity = self.capacity * 2 if self.capacity else FIRST_SAMPLES
        cdef double* took = <double*>realloc(self.took, capacity * sizeof(double))
        if took == NULL:
            return -1
        self.took = took
        took = <double*>realloc(self.passed, capacity * sizeof(double))
        if took == NULL:
            return -1
        self.passed = took
        self.capacity = capacity
        return 0


cdef double median(double* values, int n) noexcept:
    """The upper one of two. Puts the values in another order: Hoare's selection, whose time grows as n does."""
    cdef int low = 0, high = n - 1, middle = n >> 1, i, j
    cdef double pivot
    while low < high:
        pivot = values[middle]
        i = low
        j = high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < middle:
            low = i
        if middle < i:
            high = j
    return values[middle]
