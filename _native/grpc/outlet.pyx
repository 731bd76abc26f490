"""The bounded queue in front of a stream that lasts, and what happens when it is full.

    push --> [queue, bounded] --pump--> output of the stream (up to AHEAD_BYTES) --> the reader
              |-- full: BLOCK (push answers False), DROP (counted), DISCONNECT (ended with an error)
              `-- ended: by its owner, after `last` messages, or because the stream is gone

A message is framed once and referenced by every queue and stream that it waits in. While the reader keeps up, a message
goes to the stream at once and no Python object is made for it. An `Outlet` never waits: its owner awaits `room` and
`finished`. Loop thread only.
"""
cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc

from prism_proxy._native.envelope.codec cimport uuid7_now_ms
from prism_proxy._native.envelope.framed cimport FramedMessage, framed_t, framed_unref
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.replies cimport OutputSource, QueuedTotal, send_framed

cdef enum:
    AHEAD_BYTES = 1 << 18       # in the output of a stream, before messages wait here
    OVERHEAD_BYTES = 256        # counted for each message that waits, beside its bytes
    FIRST_CAPACITY = 64

POLICIES = {"block": BLOCK, "drop": DROP, "disconnect": DISCONNECT}


cdef class OutletCounters:
    pass


@cython.no_gc_clear     # what waits is given back to `total` at the end
cdef class Outlet(OutputSource):
    """Made by `Context.outlet`. `slow(messages, bytes)` makes the error of DISCONNECT."""

    def __cinit__(self, ServerStream stream not None, OutletCounters counters not None, QueuedTotal total not None,
                  str policy not None, size_t messages, int64_t size, int64_t last, slow):
        self.stream, self.counters, self.total, self.slow = stream, counters, total, slow
        self.policy = POLICIES[policy]
        self.most, self.most_bytes, self.last = messages, size, last

    def __dealloc__(self):
        self.discard()
        free(self.ring)

    # --- messages in ------------------------------------------------------------------------------------------------

    @property
    def waiting(self):
        """Messages in the queue."""
        return self.count

    @property
    def credit(self):
        """How many messages would be taken now, about."""
        if self.ended:
            return 1        # what comes now is discarded
        return 0 if self.is_full() else self.most - self.count

    cdef bint is_full(self) noexcept:
        """An empty queue takes a message of any size, so that a reader gets on whatever others hold."""
        return self.count != 0 and (self.count >= self.most or self.queued_bytes >= self.most_bytes
                                    or self.total.used >= self.total.limit)

    cdef bint blocks(self) noexcept:
        """Whether a publisher must wait for its room now."""
        return self.policy == BLOCK and not self.ended and self.is_full()

    def push(self, FramedMessage message not None, int64_t expires_ms=NEVER_MS) -> bool:
        """Take a message. False: there is no room, and it must wait for `room`."""
        return self.push_framed(message.framed, expires_ms)

    def notice(self, FramedMessage message not None) -> None:
        """A message that finds room in any case."""
        if not self.ended and (self.count < self.capacity or self.grow()):
            self.append(message.framed, NEVER_MS)
            self.pump()

    cdef bint push_framed(self, framed_t* message, int64_t expires_ms) noexcept:
        cdef ServerStream stream = self.stream
        if self.ended or stream is None or stream.session is None:
            return True
        if self.started and self.count == 0 and stream.out_bytes < AHEAD_BYTES:
            self.send(message)
            return True
        if self.is_full() or (self.count == self.capacity and not self.grow()):
            return self.overflow()
        self.append(message, expires_ms)
        return True

    cdef void append(self, framed_t* message, int64_t expires_ms) noexcept:
        cdef waiting_t* place = &self.ring[(self.first + self.count) & (self.capacity - 1)]
        cdef int64_t size = <int64_t>message.length + OVERHEAD_BYTES
        message.refs += 1
        place.message, place.expires_ms = message, expires_ms
        self.count += 1
        self.queued_bytes += size
        self.total.used += size

    cdef bint grow(self) noexcept:
        """Twice as many places; False without memory."""
        cdef size_t before = self.capacity, wanted = max(2 * before, <size_t>FIRST_CAPACITY), i
        cdef waiting_t* grown = <waiting_t*>realloc(self.ring, wanted * sizeof(waiting_t))
        if grown == NULL:
            return False
        for i in range(self.first):         # those that stand at the beginning come behind the others
            grown[before + i] = grown[i]
        self.ring, self.capacity = grown, wanted
        return True

    cdef bint overflow(self) noexcept:
        if self.total.used >= self.total.limit:
            self.total.refused += 1
        if self.policy == BLOCK:
            return False
        self.counters.dropped += 1
        if self.policy == DISCONNECT:
            self.end_with(self.slow, self.count, self.queued_bytes)
        return True

    # --- messages out -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The head of the reply is sent: messages may follow."""
        self.started = True
        self.pump()

    cdef void pump(self) noexcept:
        """Hand to the stream what it has room for."""
        cdef waiting_t* place
        if not self.started or self.count == 0 or self.stream is None or self.stream.session is None:
            return
        while self.count and self.stream.out_bytes < AHEAD_BYTES:
            place = &self.ring[self.first]
            if place.expires_ms and place.expires_ms <= <int64_t>uuid7_now_ms():
                self.counters.expired += 1
            else:
                self.send(place.message)
            if self.count:
                self.pop()      # unless that was the last one, and the rest is gone
        self.settle()

    cdef void send(self, framed_t* message) noexcept:
        send_framed(self.stream, message)
        self.delivered += 1
        self.counters.delivered += 1
        if self.delivered == self.last:
            self.discard()
            self.end(None)

    cdef void pop(self) noexcept:
        cdef framed_t* message = self.ring[self.first].message
        cdef int64_t size = <int64_t>message.length + OVERHEAD_BYTES
        self.first = (self.first + 1) & (self.capacity - 1)
        self.count -= 1
        self.queued_bytes -= size
        self.total.used -= size
        framed_unref(message)

    cdef void discard(self) noexcept:
        while self.count:
            self.pop()

    cdef void settle(self) noexcept:
        """Wake those who wait for room, or for the end."""
        if self.ended and (self.count == 0 or self.error is not None):
            wake(self.finishing)
        if self.roomless is not None and (self.ended or not self.is_full()):
            waiters, self.roomless = self.roomless, None
            for waiter in waiters:
                wake(waiter)

    # --- the owner's side -------------------------------------------------------------------------------------------

    async def room(self):
        """Return when `push` would take, at once if it would now."""
        while not self.ended and self.is_full():
            if self.roomless is None:
                self.roomless = []
            waiter = self.stream.core.loop.create_future()
            self.roomless.append(waiter)
            await waiter

    async def finished(self):
        """Return when it has ended and the stream has all of it. PrismError when it ended with one."""
        if not self.ended or (self.count and self.error is None):
            self.finishing = self.stream.core.loop.create_future()
            await self.finishing
        if self.error is not None:
            raise self.error

    def end(self, error) -> None:
        """Take nothing more. What waits still goes out, unless it ended with an error."""
        if not self.ended:
            self.ended, self.error = True, error
            if error is not None:
                self.discard()
            self.settle()

    cdef void end_with(self, slow, size_t messages, int64_t size) noexcept:
        try:
            self.end(slow(messages, size))
        except Exception as failure:
            self.stream.core.loop.call_exception_handler(
                {"message": "the error of a slow reader could not be made", "exception": failure})
            self.end(None)

    cdef void gone(self) noexcept:
        """The call is over."""
        self.discard()
        self.end(None)
        self.stream = None


cdef void wake(waiter) noexcept:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
