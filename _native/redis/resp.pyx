"""One pipelined connection to Redis: commands leave in one write per loop tick, replies are taken in order.

Native callers (`send`) pay no Future, task or message object: a ring remembers who waits for the next reply, and a
function of theirs takes it. Python callers use `execute`. A connection never reconnects: it owns its ring and dies with
it, so that no reply can reach the caller of another connection. `backends.redis.connection_pool` makes the next one.

    connected --handshake sent and answered--> ready --loss, bad protocol, silence, stale server--> closed

What was sent is kept until it is answered, so that after a loss it is known what may be tried again.
"""
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from prism_proxy._native.http2.buffers cimport buffer_append, buffer_free, buffer_reserve
from prism_proxy._native.redis.replies cimport expected_of, future_done, stale_error, to_object
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.slots.concurrency_limiter cimport ConcurrencyCore

from prism_proxy._native.redis.replies import ConnectionLost, PipelineFull, RespError  # no-cython-lint: as the module's own

cdef enum:
    SWEEP_MS = 5            # how exactly deadlines are kept while Redis is slow
    MAX_SKIPPED = 512 << 20     # no value of Redis is larger by its default; what claims to be is garbage
    SKIP_NS = 64            # a byte of what is left out may take so long: 16 MB/s
    KEPT_BYTES = 64 * 1024  # of a buffer that is empty


cdef class FairShare:
    """What one namespace may have on a connection that it shares: its equal part of `max_pending` commands and of the
    connection's bytes, equal among those that have commands there, and one command in any case.

    It gets that part also while others hold more, from before it came: so the connection as a whole takes more than one
    namespace alone may have, for n of them at most 1 + 1/2 + ... + 1/n times as much.
    """

    def __init__(self, uint32_t max_pending):
        self.max_pending = max_pending


cdef class Writes:
    """Writes on their way, over one connection or, where one follows another in its place, over both. Keys are counted
    by buckets: that two share one costs a little time, and nothing else."""

    def count(self, uint32_t bucket) -> int:
        return self.counts[bucket]

    cdef void add(self, uint32_t bucket, bytes more, int by) noexcept:
        cdef const uint32_t* buckets
        cdef Py_ssize_t i
        if bucket != NO_BUCKET:
            self.counts[bucket] += by
        if more is not None:
            buckets = <const uint32_t*>PyBytes_AS_STRING(more)
            for i in range(PyBytes_GET_SIZE(more) // <Py_ssize_t>sizeof(uint32_t)):
                self.counts[buckets[i]] += by


cdef class RespConnection:
    """An asyncio protocol. `closed(connection, reason)` is called once, when it takes no more commands."""

    def __cinit__(self):
        self.capacity = 256
        self.ring = <pending_t*>malloc(self.capacity * sizeof(pending_t))
        if self.ring == NULL:
            raise MemoryError

    def __init__(self, loop, closed, *, uint32_t max_pending=10_000, size_t max_queued_bytes=16 << 20,
                 size_t max_reply_bytes=512 << 20, size_t max_value_bytes=512 << 20, double read_timeout_s=3.0,
                 Writes writes=None):
        self.loop = loop
        self.on_closed = closed
        self.max_pending = max_pending
        self.max_queued_bytes = max_queued_bytes
        self.max_reply_bytes = max_reply_bytes
        self.max_value_bytes = max_value_bytes
        self.read_timeout_ns = <int64_t>(read_timeout_s * 1e9)
        self.log = deque()
        self.writes = writes if writes is not None else Writes()
        self.doubtful = []

    def __dealloc__(self):
        buffer_free(&self.out)
        buffer_free(&self.input)
        free(self.ring)

    # --- commands -----------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether commands of callers may be sent."""
        return self.ready and not self.closed

    @property
    def pending(self) -> int:
        """Commands without a reply."""
        return self.tail - self.head

    def set_ready(self, read_only=None) -> None:
        """The handshake is over. With `read_only` the connection stays when the server answers READONLY, and
        `read_only()` is called, once: its owner may look for a primary, while reads go on."""
        self.on_read_only = read_only
        self.ready = True

    def listen(self, on_push not None) -> None:
        """Hand what the server sends unasked to `on_push`, as a list. Arrays are taken for that too, as servers send it
        so that speak RESP2: no command may be sent any more whose reply is one."""
        self.on_push = on_push

    def retire(self) -> None:
        """Take no more commands, and close when those that were sent are answered."""
        self.stale = True
        self.ready = False
        if self.head == self.tail:
            self.abort("another connection takes its place")

    def settle(self) -> None:
        """The connection is lost, and nothing of it is executed any more."""
        for bucket, more in self.doubtful:
            self.writes.add(bucket, more, -1)
        self.doubtful = []

    @property
    def sent(self) -> int:
        """Commands so far, with or without a reply."""
        return self.tail

    @property
    def answered(self) -> int:
        """Commands so far that have left, in the order in which they were sent."""
        return self.head

    def execute(self, *arguments, FairShare share=None, bytes buckets=None):
        """Send a command of bytes; a Future of its reply. ConnectionLost, PipelineFull; the Future may hold RespError.
        `buckets` are those of the keys that it writes, 4 bytes each in the order of this machine.

        Replies are bytes, int, bool, float, None, list (aggregates of any kind; maps as key, value, key, value), and
        RespError within a list.
        """
        cdef argument_t few[8]
        cdef argument_t* encoded = few
        cdef bytes item
        cdef int count = 0, rc
        if len(arguments) > 8:
            encoded = <argument_t*>malloc(len(arguments) * sizeof(argument_t))
            if encoded == NULL:
                raise MemoryError
        try:
            for item in arguments:
                encoded[count].head_length = 0
                encoded[count].data = <const uint8_t*>PyBytes_AS_STRING(item)
                encoded[count].length = PyBytes_GET_SIZE(item)
                count += 1
            future = self.loop.create_future()
            rc = self.send(future_done, expected_of(encoded, count), future, 0, count, encoded, share, None,
                           NO_BUCKET, buckets)
        finally:
            if encoded != few:
                free(encoded)
        if rc == SEND_CLOSED:
            raise ConnectionLost(self.closed_reason or "not connected", False)
        if rc == SEND_FULL:
            count = self.tail - self.head if share is None else share.pending
            raise PipelineFull(f"{count} commands and {self.out.length} bytes wait for this connection")
        return future

    def tell(self, *arguments) -> None:
        """Send a command that has no reply of its own, such as SUBSCRIBE; its answer is pushed. ConnectionLost."""
        cdef bytes item
        if self.closed or self.transport is None:
            raise ConnectionLost(self.closed_reason or "not connected", False)
        command = b"*%d\r\n" % len(arguments)
        for item in arguments:
            command += b"$%d\r\n%b\r\n" % (len(item), item)
        if buffer_append(&self.out, PyBytes_AS_STRING(command), PyBytes_GET_SIZE(command)):
            raise MemoryError
        self.schedule_flush()

    cdef int send(self, reply_fn done, int expects, object owner, int64_t deadline_ns, int count,
                  const argument_t* arguments, FairShare share, ConcurrencyCore limiter, uint32_t bucket,
                  bytes more) noexcept:
        """Queue a command; SEND_OK, or why not. `done` is called exactly once when it is SEND_OK. A reply that is
        neither what it `expects` nor an error ends the connection. `share` is None for what is no namespace's, and
        `limiter` for what takes no permit; a permit is given back when the command leaves the ring, which may be after
        its caller has gone: until then the backend is busy with it."""
        cdef size_t size = 16, start = self.out.length, n
        cdef pending_t* entry
        cdef uint8_t* at
        cdef int i
        if self.closed or self.transport is None:
            return SEND_CLOSED
        for i in range(count):
            size += 32 + arguments[i].head_length + arguments[i].length
        if not self.has_room(share, size):
            return SEND_FULL
        if (self.tail - self.head == self.capacity and self.grow()) or buffer_reserve(&self.out, size):
            return SEND_FULL
        at = self.out.data + start
        at[0] = c"*"
        at = resp_put_number(at + 1, count)
        for i in range(count):
            n = arguments[i].head_length + arguments[i].length
            at[0] = c"\r"
            at[1] = c"\n"
            at[2] = c"$"
            at = resp_put_number(at + 3, n)
            at[0] = c"\r"
            at[1] = c"\n"
            at += 2
            if arguments[i].head_length:
                memcpy(at, arguments[i].head, arguments[i].head_length)
                at += arguments[i].head_length
            memcpy(at, arguments[i].data, arguments[i].length)
            at += arguments[i].length
        at[0] = c"\r"
        at[1] = c"\n"
        self.out.length = at + 2 - self.out.data
        entry = &self.ring[self.tail & (self.capacity - 1)]
        entry.owner = <void*>owner
        Py_INCREF(owner)
        entry.share = NULL
        if share is not None:
            entry.share = <void*>share
            Py_INCREF(share)
            self.users += share.pending == 0
            share.users = self.users
            share.pending += 1
            if share.piece != self.handed:
                share.piece = self.handed
                share.queued = 0
            share.queued += self.out.length - start
        if not self.flush_scheduled:
            self.queued_ns = monotonic_ns()     # read once for all that leaves together
        entry.sent_ns = self.queued_ns
        entry.bucket = bucket
        entry.more = NULL
        if more is not None:
            entry.more = <void*>more
            Py_INCREF(more)
        self.writes.add(bucket, more, 1)
        entry.limiter = NULL
        if limiter is not None:
            entry.limiter = <void*>limiter
            Py_INCREF(limiter)
            entry.began = limiter.clock.running(entry.sent_ns / 1e9)
        entry.done = done
        entry.start = self.handed + start
        entry.length = <uint32_t>(self.out.length - start)
        entry.deadline_ns = deadline_ns
        entry.expects = expects
        self.tail += 1
        self.schedule_flush()
        return SEND_OK

    cdef bint has_room(self, FairShare share, size_t size) noexcept:
        """Whether a command of so many bytes may be queued; one alone may be as large as it likes."""
        cdef size_t queued, bytes_allowed = self.max_queued_bytes + 32 * 1024
        cdef uint64_t users
        if share is None:
            return self.tail - self.head < self.max_pending and (
                self.out.length == 0 or self.out.length + size <= bytes_allowed)
        if share.pending == 0:
            return True
        users = self.users
        queued = share.queued if share.piece == self.handed else 0
        return share.pending * users < share.max_pending and (queued == 0 or (queued + size) * users <= bytes_allowed)

    cdef void leave(self, const pending_t* entry, bint over) noexcept:
        """A command has left the ring; `over`: it is not executed any more."""
        cdef void* share = entry.share
        if entry.bucket != NO_BUCKET or entry.more != NULL:
            more = <object>entry.more if entry.more != NULL else None
            if over:
                self.writes.add(entry.bucket, more, -1)
            else:
                self.doubtful.append((entry.bucket, more))
            if entry.more != NULL:
                Py_DECREF(more)
        if share == NULL:
            return
        (<FairShare>share).pending -= 1
        if (<FairShare>share).pending == 0:
            (<FairShare>share).queued = 0
            self.users -= 1
        Py_DECREF(<object>share)

    cdef void end_turn(self, const pending_t* entry, bint answered) noexcept:
        """A command has left the ring, and gives its place at the backend to the next. An answer tells by its time how
        the backend is; what failed at once must not pass for fast."""
        cdef ConcurrencyCore limiter
        cdef double now
        if entry.limiter == NULL:
            return
        limiter = <ConcurrencyCore>entry.limiter
        if answered:
            now = self.last_reply_ns / 1e9
            limiter.observed(entry.began, limiter.clock.running(now), now - entry.sent_ns / 1e9)
        limiter.leave()
        Py_DECREF(limiter)

    cdef int grow(self) noexcept:
        cdef uint32_t capacity = self.capacity * 2
        cdef uint64_t i
        cdef pending_t* ring = <pending_t*>malloc(capacity * sizeof(pending_t))
        if ring == NULL:
            return -1
        for i in range(self.head, self.tail):
            ring[i & (capacity - 1)] = self.ring[i & (self.capacity - 1)]
        free(self.ring)
        self.ring = ring
        self.capacity = capacity
        return 0

    cdef void schedule_flush(self) noexcept:
        if not self.flush_scheduled and not self.write_paused:
            self.flush_scheduled = True
            self.loop.call_soon(self.flush)
        if self.sweeper is None:
            self.swept_ns = monotonic_ns()
            self.sweeper = self.loop.call_later(SWEEP_MS / 1e3, self.sweep)

    def flush(self):
        """Give the transport what this tick has queued. Called by the loop."""
        self.flush_scheduled = False
        if self.closed or self.write_paused or self.out.length == 0:
            return
        sent = PyBytes_FromStringAndSize(<char*>self.out.data, self.out.length)
        if not self.log:
            self.log_end = self.handed + self.out.length
        self.log.append(sent)
        self.handed += self.out.length
        self.out.length = 0
        if self.out.capacity > KEPT_BYTES:
            buffer_free(&self.out)
        self.transport.write(sent)

    # --- replies ------------------------------------------------------------------------------------------------

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, bytes data):
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t n = PyBytes_GET_SIZE(data), used
        self.read_ns = monotonic_ns()
        if self.skip:
            used = min(n, self.skip)
            at, n = at + used, n - used
            self.skip -= used
            self.skipped += used
            if self.skip == 0:
                self.pardoned_ns = self.read_ns
            if n == 0:
                return
        if self.input.length:
            if buffer_append(&self.input, at, n):
                self.abort("no memory for a reply")
                return
            at, n = self.input.data, self.input.length
        used = self.consume(at, n)
        while self.large and not self.closed:
            if self.leave_out(at, n, used):
                return
            at, n = self.input.data, self.input.length
            used = self.consume(at, n)
        if self.closed:
            return
        if n - used > self.max_reply_bytes or self.scan.need > self.max_reply_bytes:
            self.abort(f"a reply is larger than {self.max_reply_bytes} bytes")
        elif at != self.input.data:
            if n > used and buffer_append(&self.input, at + used, n - used):
                self.abort("no memory for a reply")
        elif used == n:
            self.input.length = 0
            if self.input.capacity > KEPT_BYTES:
                buffer_free(&self.input)
        elif used:
            self.input.length = n - used
            memmove(self.input.data, self.input.data + used, n - used)
        if self.stale and not self.closed and self.head == self.tail:
            self.abort("the server cannot serve now (READONLY, LOADING or MASTERDOWN)")

    cdef int leave_out(self, const uint8_t* data, size_t n, size_t used) noexcept:
        """Put an error in the place of a value that is too large, and take its bytes as they come. The input keeps what
        has not been used. -1 when the connection had to end."""
        cdef buffer_t kept
        cdef size_t whole = self.large_head + <size_t>self.large_bytes + 2, rest = min(n, whole)
        cdef bytes error
        cdef int rc
        self.large = False
        if self.large_bytes > MAX_SKIPPED:
            self.abort(f"a reply is larger than {self.max_reply_bytes} bytes")
            return -1
        if self.large_bytes > <int64_t>self.max_value_bytes:
            error = b"-VALUETOOLARGE %d %d\r\n" % (self.large_bytes, self.max_value_bytes)
        else:
            error = b"-REPLYTOOLARGE %d %d\r\n" % (self.large_bytes, self.max_reply_bytes)
        memset(&kept, 0, sizeof(kept))
        rc = buffer_append(&kept, data + used, self.scan.at)
        rc |= buffer_append(&kept, PyBytes_AS_STRING(error), PyBytes_GET_SIZE(error))
        rc |= buffer_append(&kept, data + rest, n - rest)
        buffer_free(&self.input)
        self.input = kept
        self.skip = whole - rest
        self.skipped = 0
        self.scan.need = 0
        if rc:
            self.abort("no memory for a reply")
        return rc

    cdef size_t consume(self, const uint8_t* data, size_t n) noexcept:
        """Hand out every whole reply; the bytes they took."""
        cdef resp_reply_t reply
        cdef size_t used = 0, end = 0
        cdef int rc
        memset(&reply, 0, sizeof(reply))
        while used < n and not self.closed:
            rc = resp_next(data + used, n - used, self.max_value_bytes, self.max_reply_bytes, &self.scan, &reply, &end)
            if rc == RESP_MORE:
                break
            if rc == RESP_LARGE:
                self.large = True
                self.large_head = used + end
                self.large_bytes = reply.integer
                break
            if rc == RESP_BAD:
                self.abort("the server sent what is not RESP")
                break
            used += end
            if reply.type == c">" or (self.on_push is not None and reply.type == c"*"):
                if self.on_push is not None and not self.pushed(&reply):
                    break
                continue        # news, not a reply
            if self.head == self.tail or self.ring[self.head & (self.capacity - 1)].start >= self.handed:
                self.abort("the server sent a reply that nothing waits for")   # nor to what has not been sent yet
                break
            if not is_expected(&reply, self.ring[self.head & (self.capacity - 1)].expects):
                self.abort("the server answered a command with what is no reply to it")
                break
            self.deliver(&reply)
        return used

    cdef bint pushed(self, const resp_reply_t* reply) noexcept:
        """Hand out what the server sends unasked; False when the connection ended by it."""
        try:
            self.on_push(to_object(reply))
        except Exception as error:
            self.abort(f"what the server sent could not be taken: {error!r}")
        return not self.closed

    cdef void deliver(self, const resp_reply_t* reply) noexcept:
        """Give a reply to the first command in the ring."""
        cdef pending_t entry = self.ring[self.head & (self.capacity - 1)]
        cdef const uint8_t* command = NULL
        self.head += 1
        self.leave(&entry, True)
        self.last_reply_ns = self.read_ns
        if reply.type == c"-" or entry.expects == EXPECT_NAMED:
            self.locate(&entry, &command)
            if reply.type == c"-" and stale_error(reply):
                self.found_stale(reply.data[0] == c"R")
        if entry.owner != NULL:
            entry.done(entry.owner, ANSWERED, reply, command, entry.length)
            Py_DECREF(<object>entry.owner)
        self.end_turn(&entry, reply.type != c"-")
        while self.log and entry.start + entry.length >= self.log_end:
            self.log.popleft()
            if self.log:
                self.log_end += <uint64_t>len(self.log[0])

    cdef void found_stale(self, bint read_only) noexcept:
        """The server is no primary, or not up yet. What was sent is answered before the connection closes."""
        if not read_only or self.on_read_only is None:
            self.stale = True
            self.ready = False
        elif not self.refused:
            self.refused = True
            self.on_read_only()

    cdef int locate(self, const pending_t* entry, const uint8_t** command) noexcept:
        """Where an unanswered command is kept: 1 when it has been handed to the transport, 0 when not."""
        cdef uint64_t start
        cdef bytes piece
        if entry.start >= self.handed:
            command[0] = self.out.data + (entry.start - self.handed)
            return 0
        if self.log:
            start = self.log_end - <uint64_t>len(self.log[0])
            for piece in self.log:
                if entry.start < start + <uint64_t>PyBytes_GET_SIZE(piece):
                    command[0] = <const uint8_t*>PyBytes_AS_STRING(piece) + (entry.start - start)
                    break
                start += PyBytes_GET_SIZE(piece)
        return 1

    # --- time ---------------------------------------------------------------------------------------------------

    def sweep(self):
        """End what is over its deadline, and the connection when its oldest reply is overdue. Called by the loop."""
        cdef int64_t now = monotonic_ns()
        # when this process stood still, replies may lie in the socket unread
        cdef bint stood_still = now - self.swept_ns > self.read_timeout_ns // 2
        cdef pending_t* entry
        cdef const uint8_t* command = NULL
        cdef void* owner
        cdef uint64_t i
        self.sweeper = None
        self.swept_ns = now
        if self.closed or self.head == self.tail:
            return
        if not stood_still and now - max(self.ring[self.head & (self.capacity - 1)].sent_ns, self.pardoned_ns) > (
                self.read_timeout_ns + (self.skipped * SKIP_NS if self.skip else 0)):
            self.silent = True
            self.abort(f"no reply within {self.read_timeout_ns / 1e9:g} s")
            return
        for i in range(self.head, self.tail):
            entry = &self.ring[i & (self.capacity - 1)]
            if entry.deadline_ns and now > entry.deadline_ns and entry.owner != NULL:
                owner = entry.owner
                entry.owner = NULL
                entry.done(owner, EXPIRED, NULL, command, 0)
                Py_DECREF(<object>owner)
                if self.closed:
                    return
        self.sweeper = self.loop.call_later(SWEEP_MS / 1e3, self.sweep)

    # --- end ----------------------------------------------------------------------------------------------------

    def pause_writing(self):
        self.write_paused = True

    def resume_writing(self):
        self.write_paused = False
        if self.out.length:
            self.schedule_flush()

    def eof_received(self):
        return False

    def connection_lost(self, error):
        self.fail_all(f"the server closed the connection{f': {error}' if error is not None else ''}")
        self.transport = None

    def abort(self, str reason not None) -> None:
        """Close now; whatever waits learns that it is lost."""
        if self.transport is not None:
            self.transport.abort()
        self.fail_all(reason)

    cdef void fail_all(self, str reason) noexcept:
        cdef pending_t entry
        cdef const uint8_t* command
        cdef int sent
        if self.closed:
            return
        self.closed = True
        self.ready = False
        self.closed_reason = reason
        if self.sweeper is not None:
            self.sweeper.cancel()
            self.sweeper = None
        self.on_closed(self, reason)
        while self.head != self.tail:
            entry = self.ring[self.head & (self.capacity - 1)]
            self.head += 1
            sent = entry.start < self.handed
            self.leave(&entry, not sent)
            if entry.owner != NULL:
                command = NULL
                self.locate(&entry, &command)
                entry.done(entry.owner, LOST_SENT if sent else LOST_UNSENT, NULL, command, entry.length)
                Py_DECREF(<object>entry.owner)
            self.end_turn(&entry, False)
        self.log.clear()
        buffer_free(&self.out)
        buffer_free(&self.input)


cdef bint is_expected(const resp_reply_t* reply, int expects) noexcept:
    if reply.type == c"-" or expects == EXPECT_ANY:
        return True
    if expects == EXPECT_VALUE or expects == EXPECT_NAMED:
        return reply.type == c"$" or reply.type == c"_"
    if expects == EXPECT_COMPARED:
        return reply.type == c"$" or reply.type == c"_" or reply.type == c":"
    if expects == EXPECT_OK:
        return reply.type == c"+" and reply.length == 2 and memcmp(reply.data, b"OK", 2) == 0
    return reply.type == c":"
