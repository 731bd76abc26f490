"""A connection to a NATS server, as native publishers use it."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from prism_proxy._native.http2.buffers cimport buffer_t
from prism_proxy._native.slots.concurrency_limiter cimport ConcurrencyCore

cdef enum:
    # what became of a message
    CONFIRMED = 0
    DENIED = 1          # the server's permissions do not allow it
    LOST_UNSENT = 2     # the connection is gone, and no byte of the message left this process
    LOST_SENT = 3       # the connection is gone; whether the server has the message is unknown

cdef enum:
    # why `send` took nothing
    SEND_CLOSED = -1
    SEND_FULL = -2

ctypedef void (*confirmed_fn)(void* owner, int outcome) noexcept

cdef struct waiter_t:
    confirmed_fn done
    void* owner
    void* subject       # bytes
    void* limiter       # whose permit goes back
    double began
    int64_t sent_ns
    bint denied


cdef class NatsConnection:
    """An asyncio protocol. `closed(connection, reason)` is called once. `stray(subject, reply, headers, data)` gets
    messages of subscriptions that are over."""
    cdef object loop, transport, on_closed, on_stray, on_info
    cdef object rounds          # of each PING without a PONG: (subject, Future) of who waits, and the end of `native`
    cdef list waiting           # for the next PING
    cdef waiter_t* native       # a ring of those that wait natively, from `head` to `tail`
    cdef uint32_t capacity
    cdef uint64_t head, tail, asked     # before `asked`: a PING for them has left
    cdef int64_t queued_ns
    cdef dict listeners         # subscription number -> called with subject, reply, headers, data
    cdef buffer_t out, input
    cdef size_t need            # bytes the next message has, head included, once its head is known
    cdef bint flush_scheduled, write_paused, closed
    cdef readonly dict info
    cdef readonly int64_t max_payload, received, received_bytes, sent, sent_bytes
    cdef readonly str closed_reason
    cdef readonly str last_error
    cdef int64_t next_number
    cdef object room_waiters

    cdef int send(self, bytes subject, const uint8_t* headers, size_t headers_length, size_t within,
                  const uint8_t* data, size_t n, size_t bound, confirmed_fn done, object owner,
                  ConcurrencyCore limiter) noexcept
    cdef bint grow(self) noexcept
    cdef void give_back(self, uint64_t end, int outcome) noexcept
    cdef int write(self, bytes text) except -1
    cdef void schedule_flush(self) noexcept
    cdef void make_room(self)
    cdef size_t consume(self, const uint8_t* data, size_t n)
    cdef size_t message(self, const uint8_t* data, size_t line, size_t n)
    cdef void control(self, const uint8_t* data, size_t line)
    cdef void informed(self, bytes text)
    cdef void refused(self, str text)
