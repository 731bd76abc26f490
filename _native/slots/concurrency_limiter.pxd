"""The part of the concurrency limiter, and of its clock, that native handlers share with slots."""
from libc.stdint cimport int64_t

from prism_proxy._native.runtime.clock cimport thread_ns

cdef enum:
    LATE_NS = 2_000_000     # a timer of libuv counts whole milliseconds
    FRESH_NS = 100_000      # how old a reading may be: asking the system for work costs more than a call may


cdef class StallClockCore:
    cdef bint counts_work
    cdef double lost                # seconds in which this process did not run
    cdef double work                # seconds for which this thread had worked when the timer was set
    cdef double read_at, read       # the last reading: what is read for many calls is read once
    cdef readonly double due        # when the timer fires; infinite while there is none
    cdef readonly int busy          # calls that are timed now

    cdef inline double worked(self) noexcept:
        return thread_ns() / 1e9 if self.counts_work else 0.0

    cdef inline double running(self, double wall) noexcept:
        """How many seconds this process has stood ready at `wall`, which is now."""
        cdef double late, work
        if wall == self.read_at or (self.counts_work and 0 <= wall - self.read_at < FRESH_NS / 1e9):
            return self.read
        late = wall - self.due
        work = self.worked()
        if late > LATE_NS / 1e9:
            if late > work - self.work:
                self.lost += late - (work - self.work)      # what it worked meanwhile is left out anyway
            self.due = wall         # until the timer, which is about to fire, says when it does next
            self.work = work
        self.read_at = wall
        self.read = wall - self.lost - work
        return self.read


cdef class ConcurrencyCore:
    cdef readonly StallClockCore clock
    cdef readonly int in_flight     # calls at the backend
    cdef readonly int allowed       # the limit of them
    cdef bint queue, queues           # calls wait that go before others; calls wait, bulk work included
    # the window
    cdef double opened, length
    cdef double* took               # seconds of the stall-compensated clock
    cdef double* passed             # seconds on the wall
    cdef int capacity, count, peak
    cdef dict refusals              # by operation: until when they are fresh, and variants of their trailers
    cdef unsigned int refused

    cdef inline bint enter(self) noexcept:
        """Take a permit at once; False when others are before, or none is free."""
        if self.queue or self.in_flight >= self.allowed:
            return False
        self.permit_taken()
        return True

    cdef inline void permit_taken(self) noexcept:
        self.in_flight += 1
        self.clock.busy += 1
        if self.clock.due > 1e300:
            self.clock.watch()

    cdef inline void permit_returned(self) noexcept:
        self.in_flight -= 1
        self.clock.busy -= 1

    cdef inline void leave(self) noexcept:
        """A call ended: waiting calls get its permit."""
        self.permit_returned()
        if self.queues:
            self.serve()

    cdef list refusal_trailers(self, str operation, int64_t now_ns, object describe)
    cdef list encoded_refusals(self, str operation, object describe)
    cdef void observed(self, double began, double now, double passed) noexcept
    cdef int grow(self) noexcept
