"""A pipelined connection to Redis. The sender of a command names the function that takes its reply."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from prism_proxy._native.http2.buffers cimport buffer_t
from prism_proxy._native.slots.concurrency_limiter cimport ConcurrencyCore

cdef extern from "redis/resp.h" nogil:
    enum:
        RESP_BAD, RESP_MORE, RESP_REPLY, RESP_LARGE

    ctypedef struct resp_reply_t:
        char type
        int64_t integer
        const uint8_t* data
        size_t length

    ctypedef struct resp_scan_t:
        size_t at
        int64_t open
        size_t need

    int resp_element(const uint8_t*, size_t, size_t at, size_t most, resp_reply_t*, size_t* end, int64_t* children,
                     size_t* need)
    int resp_next(const uint8_t*, size_t, size_t most, size_t most_all, resp_scan_t*, resp_reply_t*, size_t* end)
    uint8_t* resp_put_number(uint8_t*, uint64_t)


cdef enum:
    # what became of a command, beside a reply
    ANSWERED = 0
    LOST_UNSENT = 1     # the connection is gone, and no byte of the command left this process
    LOST_SENT = 2       # the connection is gone; whether the command was executed is unknown
    EXPIRED = 3         # its deadline passed; it may be executed yet

# why `send` took nothing
cdef enum:
    SEND_OK = 0
    SEND_CLOSED = -1
    SEND_FULL = -2


# what a reply must be; what is something else answers another command, or comes from no Redis
cdef enum:
    EXPECT_ANY = 0
    EXPECT_VALUE = 1    # a bulk string or null
    EXPECT_OK = 2
    EXPECT_INTEGER = 3
    EXPECT_NAMED = 4    # as EXPECT_VALUE, of which the sender wants to see the command again
    EXPECT_COMPARED = 5     # 1 where a comparison held, else the value that was there, or null


cdef struct argument_t:
    # one argument, in up to two pieces
    const uint8_t* head
    size_t head_length
    const uint8_t* data
    size_t length


# `command` is the encoded command, valid during the call, and NULL where it was answered without an error, unless that
# is EXPECT_NAMED; `reply` is NULL unless the outcome is ANSWERED.
ctypedef void (*reply_fn)(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command,
                          size_t n) noexcept


cdef class FairShare:
    # what one of several namespaces has on a connection
    cdef readonly uint32_t pending      # commands without a reply, also those nobody waits for any more
    cdef readonly uint32_t max_pending
    cdef readonly uint32_t users        # namespaces that have commands on the connection, this one included
    cdef size_t queued                  # bytes in the piece that is to leave next
    cdef uint64_t piece                 # where that piece begins


cdef enum:
    BUCKETS = 16384
    NO_BUCKET = 0xFFFF


cdef class Writes:
    # how many writes of each bucket of keys have been sent on a connection, and may be executed yet
    cdef uint32_t counts[BUCKETS]
    cdef void add(self, uint32_t bucket, bytes more, int by) noexcept


cdef struct pending_t:
    void* more          # a reference is held to further buckets, or NULL
    void* owner         # a reference is held; NULL once the owner wants no reply any more
    void* share         # a reference is held; NULL for what is no namespace's
    void* limiter         # a reference is held, and a place at the backend; NULL for what has none
    reply_fn done
    uint64_t start      # of the command in the stream of all bytes sent
    uint32_t length
    int expects
    int64_t sent_ns, deadline_ns
    uint32_t bucket     # of the key it writes, or NO_BUCKET
    double began        # when it was sent, as its limiter times it


cdef class RespConnection:
    cdef object loop, transport, on_closed, sweeper, log, on_read_only, on_push
    cdef readonly Writes writes
    cdef list doubtful                  # (bucket, more) of writes that may be executed, though the connection is lost
    cdef readonly str closed_reason
    cdef readonly bint ready            # past its handshake: commands of callers may be sent
    cdef readonly bint silent           # closed because a reply was overdue
    cdef bint closed, write_paused, flush_scheduled, stale
    cdef buffer_t out, input
    cdef resp_scan_t scan
    cdef pending_t* ring
    cdef uint64_t head, tail            # of the ring: taken from, put to; they only grow
    cdef uint32_t capacity
    cdef uint64_t handed                # bytes given to the transport so far
    cdef uint64_t log_end               # where the oldest bytes still kept end
    cdef uint32_t users                 # shares with commands in the ring
    cdef uint32_t max_pending
    cdef size_t max_queued_bytes, max_reply_bytes, max_value_bytes
    cdef bint large                     # the reply at the front has a value that is left out
    cdef size_t large_head              # where the value begins
    cdef int64_t large_bytes            # how long it is
    cdef size_t skip                    # bytes of it that are still to come
    cdef int64_t skipped                # bytes of it that came
    cdef int64_t pardoned_ns            # who waits has waited for such a value until then
    cdef int64_t read_timeout_ns
    cdef readonly bint refused          # it answered READONLY, and was kept
    cdef int64_t swept_ns               # when deadlines were looked at last
    cdef int64_t queued_ns, read_ns     # when the piece that is to leave next was begun, and the last one came
    cdef readonly int64_t last_reply_ns    # monotonic; 0 before the first
    cdef int send(self, reply_fn done, int expects, object owner, int64_t deadline_ns, int count,
                  const argument_t* arguments, FairShare share, ConcurrencyCore limiter, uint32_t bucket,
                  bytes more) noexcept
    cdef bint has_room(self, FairShare share, size_t size) noexcept
    cdef void leave(self, const pending_t* entry, bint over) noexcept
    cdef void end_turn(self, const pending_t* entry, bint answered) noexcept
    cdef void schedule_flush(self) noexcept
    cdef int leave_out(self, const uint8_t* data, size_t n, size_t used) noexcept
    cdef size_t consume(self, const uint8_t* data, size_t n) noexcept
    cdef void deliver(self, const resp_reply_t* reply) noexcept
    cdef int grow(self) noexcept
    cdef bint pushed(self, const resp_reply_t* reply) noexcept
    cdef void found_stale(self, bint read_only) noexcept
    cdef int locate(self, const pending_t* entry, const uint8_t** command) noexcept
    cdef void fail_all(self, str reason) noexcept
