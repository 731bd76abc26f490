"""The queue of calls that Python serves: what is admitted begins in time, the rest is refused before Python sees it.

A loop that begins whatever arrives works on calls whose callers have given up. Here a call is admitted when those
before it will have begun within `servicer_wait_s` and within half of what is left of its own deadline, judged by what
calls of each method were measured to cost. Admitted calls are begun in slices, between which the loop reads and writes.
Of two measurements in a row the lower one counts: a first call that imports, or a moment in which the machine did
something else, says nothing of the calls behind it.

    add() -- nothing waits --> begun at once          run(): a slice is over: measure it, begin the next one
       \\-- else --> [waiting] --run()--> begun
"""
from collections import deque

from libc.stdint cimport int64_t

from prism_proxy._native.runtime.clock cimport monotonic_ns

cdef enum:
    SLICE_NS = 4_000_000        # begun before the loop turns to its sockets again
    FIRST_NS = 50_000           # what a method is taken to cost before it was measured
    MOST_SAMPLE_NS = 50_000_000


cdef class CostMeter:
    def __cinit__(self):
        self.ns = self.last_ns = FIRST_NS

    cdef void sample(self, double ns) noexcept:
        if self.samples < 16:
            self.samples += 1
        self.ns += (min(ns, self.last_ns, MOST_SAMPLE_NS) - self.ns) / self.samples
        self.last_ns = ns


cdef class QueuedCall:
    cdef bint dispatch(self, int64_t now_ns):
        return False


cdef class ServicerQueue:
    def __cinit__(self, loop, int64_t limit_ns):
        self.loop = loop
        self.limit_ns = limit_ns
        self.calls = deque()
        self.stretch = self.last_stretch = 1

    cdef bint admits(self, CostMeter meter, int64_t left_ns) noexcept:
        """Whether a call will begin in time that has `left_ns` until its deadline; 0: it has none."""
        cdef double wait = (self.waiting_ns + self.started_ns) * self.stretch
        if not self.scheduled:
            return True
        if left_ns and 2 * (wait + meter.ns * self.stretch) > left_ns:
            return False    # half of what is left: an estimate, and the reply has to be made and sent
        return wait <= self.limit_ns

    cdef void add(self, QueuedCall call, int64_t now_ns):
        if not self.calls and not self.slicing and self.started_ns < SLICE_NS:
            self.give(call, now_ns)
        else:
            call.queued_ns = call.meter.ns
            self.waiting_ns += call.queued_ns
            self.calls.append(call)
        self.schedule()

    cdef bint give(self, QueuedCall call, int64_t now_ns):
        if not call.dispatch(now_ns):
            return False
        call.given = True
        self.unbegun += 1
        self.started_ns += call.meter.ns
        return True

    cdef void schedule(self) noexcept:
        if not self.scheduled:
            self.scheduled = True
            self.slice_began_ns = monotonic_ns()
            self.loop.call_soon(self.run)

    def run(self):
        """Behind the calls of the last slice, which have begun by now: begin those of the next."""
        cdef int64_t now = monotonic_ns()
        cdef QueuedCall call
        cdef double passed = now - self.slice_began_ns, stretch
        if self.unbegun:
            self.loop.call_soon(self.run)   # calls were given to the loop behind this
            return
        if self.begun is not None:
            self.begun.meter.sample(now - self.begun_ns)
            self.begun = None
        if self.slicing and self.started_ns > 0:
            # More than the calls cost: the loop also reads, writes, and goes on with calls that had to wait.
            stretch = min(max(passed / self.started_ns, 1.0), 100.0)
            self.stretch += (min(stretch, self.last_stretch) - self.stretch) / 16
            self.last_stretch = stretch
        self.slicing = self.scheduled = False
        self.started_ns = 0
        while self.calls and self.started_ns < SLICE_NS:
            call = self.calls.popleft()
            self.waiting_ns -= call.queued_ns
            if self.give(call, now):
                self.slicing = True
        if not self.calls:
            self.waiting_ns = 0     # no sum of rounding errors is left
        if self.slicing:
            self.schedule()

    cdef void begins(self, QueuedCall call) noexcept:
        """A call takes its first step; so the one before it has taken its own."""
        cdef int64_t now = monotonic_ns()
        if call.given:
            call.given = False
            self.unbegun -= 1
        if self.begun is not None:
            self.begun.meter.sample(now - self.begun_ns)
        self.begun = call
        self.begun_ns = now

    cdef void ends(self, QueuedCall call) noexcept:
        """A call is over, perhaps before its first step. Where it is the last that began, it never waited."""
        if call.given:
            call.given = False
            self.unbegun -= 1
        if self.begun is call:
            call.meter.sample(monotonic_ns() - self.begun_ns)
            self.begun = None
