"""One connection to a NATS server: the protocol read and written, and nothing that repeats or reconnects.

    INFO --> (TLS) --> CONNECT, PING --> PONG --> PUB HPUB SUB UNSUB out, MSG HMSG in --> closed, with a reason

What is written in one tick of the loop leaves in one piece. Whoever waits in `confirm` shares one PING with all others
of the tick: its PONG says that the server has taken what was written before, and an error that names their subject
comes earlier. Whatever a server sends, it is bounded, and what is no NATS ends the connection. It must not know
subjects' meanings, credentials or settings.
"""
import json
import re
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memmove

from prism_proxy._native.http2.buffers cimport buffer_append, buffer_free, buffer_reserve
from prism_proxy._native.redis.resp cimport resp_put_number
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.slots.concurrency_limiter cimport ConcurrencyCore

cdef enum:
    MAX_LINE = 1 << 20              # INFO of a large cluster; other lines are a few hundred bytes
    MAX_FIELDS = 5
    FIRST_MAX_PAYLOAD = 1 << 20     # until the server has named its own
    SLACK = 64 * 1024               # what a server may add to a message that had its largest size
    KEPT_BYTES = 64 * 1024          # of a buffer that is empty

_DENIED = re.compile(r"permissions violation for (?:publish|subscription) to \"([^\"]*)\"", re.IGNORECASE)


class NatsClosed(Exception):
    """The connection is gone. With `sent` False nothing of what was asked for left this process."""

    def __init__(self, str reason, bint sent):
        super().__init__(reason)
        self.sent = sent


class NatsDenied(Exception):
    """The server's permissions do not let this user publish or subscribe to a subject."""


cdef class NatsConnection:
    def __init__(self, loop, closed, stray):
        self.loop = loop
        self.on_closed = closed
        self.on_stray = stray
        self.rounds = deque()
        self.waiting = []
        self.listeners = {}
        self.room_waiters = []
        self.max_payload = FIRST_MAX_PAYLOAD

    def __dealloc__(self):
        buffer_free(&self.out)
        buffer_free(&self.input)
        free(self.native)

    # --- what is sent -----------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.closed

    @property
    def queued_bytes(self) -> int:
        """What the socket has not taken yet."""
        if self.transport is None or self.closed:
            return self.out.length
        return self.out.length + <size_t>self.transport.get_write_buffer_size()

    @property
    def silent_rounds(self) -> int:
        """PINGs without a PONG."""
        return len(self.rounds)

    def listen_info(self, on_info) -> None:
        """Call `on_info(info)` for what the server says of itself, now and later."""
        self.on_info = on_info

    def use(self, transport) -> None:
        """Go on over another transport: that of TLS. What came before it is not to be trusted."""
        if self.input.length:
            self.abort("the server sent more before TLS began")
            return
        self.transport = transport

    def connect(self, bytes options not None) -> None:
        """Send CONNECT with these options, in JSON."""
        self.write(b"CONNECT %b\r\n" % options)

    def publish(self, bytes subject not None, bytes reply, bytes headers, bytes data not None) -> None:
        """Queue a message. `headers` is a whole block, as `headers_block` makes it. NatsClosed."""
        cdef size_t total = PyBytes_GET_SIZE(data)
        cdef bytes head
        if headers is None:
            head = b"PUB %b %d\r\n" % (subject, total) if reply is None else b"PUB %b %b %d\r\n" % (
                subject, reply, total)
        else:
            total += PyBytes_GET_SIZE(headers)
            head = (b"HPUB %b %d %d\r\n" % (subject, PyBytes_GET_SIZE(headers), total) if reply is None else
                    b"HPUB %b %b %d %d\r\n" % (subject, reply, PyBytes_GET_SIZE(headers), total))
        if self.closed or self.transport is None:
            raise NatsClosed(self.closed_reason or "not connected", False)
        if buffer_reserve(&self.out, PyBytes_GET_SIZE(head) + total + 2):
            raise MemoryError
        buffer_append(&self.out, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
        if headers is not None:
            buffer_append(&self.out, PyBytes_AS_STRING(headers), PyBytes_GET_SIZE(headers))
        buffer_append(&self.out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        buffer_append(&self.out, b"\r\n", 2)
        self.sent += 1
        self.sent_bytes += total
        self.schedule_flush()

    cdef int send(self, bytes subject, const uint8_t* headers, size_t headers_length, size_t within,
                  const uint8_t* data, size_t n, size_t bound, confirmed_fn done, object owner,
                  ConcurrencyCore limiter) noexcept:
        """As `publish` and `confirm`: 0, and `done(owner, outcome)` is called once; SEND_FULL where `bound` bytes wait
        for the server already. Behind the headers stand `within` bytes that belong to the data. A permit of `limiter`
        goes back with the answer."""
        cdef size_t total = headers_length + within + n, subject_length = PyBytes_GET_SIZE(subject)
        cdef waiter_t* waiter
        cdef uint8_t* at
        if self.closed or self.transport is None:
            return SEND_CLOSED
        if self.write_paused or self.out.length >= bound:
            return SEND_FULL
        if (self.tail - self.head == self.capacity and not self.grow()) or buffer_reserve(
                &self.out, subject_length + total + 64):
            return SEND_FULL
        at = self.out.data + self.out.length
        if headers_length:
            memcpy(at, "HPUB ", 5)
            at += 5
        else:
            memcpy(at, "PUB ", 4)
            at += 4
        memcpy(at, PyBytes_AS_STRING(subject), subject_length)
        at += subject_length
        if headers_length:
            at[0] = c" "
            at = resp_put_number(at + 1, headers_length)
        at[0] = c" "
        at = resp_put_number(at + 1, total)
        at[0], at[1] = c"\r", c"\n"
        memcpy(at + 2, headers, headers_length + within)
        at += 2 + headers_length + within
        memcpy(at, data, n)
        at += n
        at[0], at[1] = c"\r", c"\n"
        self.out.length = at + 2 - self.out.data
        self.sent += 1
        self.sent_bytes += total
        if not self.flush_scheduled:
            self.queued_ns = monotonic_ns()     # read once for all that leaves together
        waiter = &self.native[self.tail & (self.capacity - 1)]
        waiter.done, waiter.owner, waiter.subject = done, <void*>owner, <void*>subject
        waiter.limiter, waiter.denied, waiter.sent_ns = NULL, False, self.queued_ns
        Py_INCREF(owner)
        Py_INCREF(subject)
        if limiter is not None:
            waiter.limiter = <void*>limiter
            Py_INCREF(limiter)
            waiter.began = limiter.clock.running(waiter.sent_ns / 1e9)
        self.tail += 1
        self.schedule_flush()
        return 0

    cdef bint grow(self) noexcept:
        cdef uint32_t capacity = self.capacity * 2 if self.capacity else 64
        cdef waiter_t* ring = <waiter_t*>malloc(capacity * sizeof(waiter_t))
        cdef uint64_t i
        if ring == NULL:
            return False
        for i in range(self.head, self.tail):
            ring[i & (capacity - 1)] = self.native[i & (self.capacity - 1)]
        free(self.native)
        self.native, self.capacity = ring, capacity
        return True

    cdef void give_back(self, uint64_t end, int outcome) noexcept:
        """Those that wait natively, up to `end`, learn what became of their messages."""
        cdef waiter_t waiter
        cdef ConcurrencyCore limiter
        cdef double now = monotonic_ns() / 1e9
        while self.head < end:
            waiter = self.native[self.head & (self.capacity - 1)]
            self.head += 1
            waiter.done(waiter.owner, DENIED if waiter.denied and outcome == CONFIRMED else outcome)
            Py_DECREF(<object>waiter.owner)
            Py_DECREF(<object>waiter.subject)
            if waiter.limiter != NULL:
                limiter = <ConcurrencyCore>waiter.limiter
                if outcome == CONFIRMED:
                    limiter.observed(waiter.began, limiter.clock.running(now), now - waiter.sent_ns / 1e9)
                limiter.leave()
                Py_DECREF(limiter)

    def subscribe(self, bytes subject not None, bytes queue, listener not None) -> int:
        """Number of a new subscription. The listener must not raise."""
        self.next_number += 1
        if queue is None:
            self.write(b"SUB %b %d\r\n" % (subject, self.next_number))
        else:
            self.write(b"SUB %b %b %d\r\n" % (subject, queue, self.next_number))
        self.listeners[self.next_number] = listener
        return self.next_number

    def unsubscribe(self, int64_t number) -> None:
        """Messages that are on their way become strays."""
        if self.listeners.pop(number, None) is not None and not self.closed:
            self.write(b"UNSUB %d\r\n" % number)

    def confirm(self, bytes subject=None):
        """A Future that is done when the server has taken all that was written so far. NatsDenied when it refused
        `subject`, NatsClosed."""
        if self.closed or self.transport is None:
            raise NatsClosed(self.closed_reason or "not connected", False)
        future = self.loop.create_future()
        self.waiting.append((subject, future))
        self.schedule_flush()
        return future

    def room(self, size_t bound):
        """A Future that is done when the socket has taken bytes; None when less than `bound` bytes wait for it."""
        cdef size_t waiting = self.out.length
        if self.closed or self.transport is None:
            return None
        if self.write_paused:
            waiting += <size_t>self.transport.get_write_buffer_size()
        if waiting < bound:
            return None
        future = self.loop.create_future()
        self.room_waiters.append(future)
        return future

    cdef int write(self, bytes text) except -1:
        if self.closed or self.transport is None:
            raise NatsClosed(self.closed_reason or "not connected", False)
        if buffer_append(&self.out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)):
            raise MemoryError
        self.schedule_flush()
        return 0

    cdef void schedule_flush(self) noexcept:
        if not self.flush_scheduled and not self.write_paused:
            self.flush_scheduled = True
            self.loop.call_soon(self.flush)

    def flush(self):
        """Give the transport what this tick has queued. Called by the loop."""
        self.flush_scheduled = False
        if self.closed or self.write_paused or self.transport is None:
            return
        if self.waiting or self.asked != self.tail:
            self.rounds.append((self.waiting, self.tail))
            self.waiting, self.asked = [], self.tail
            buffer_append(&self.out, b"PING\r\n", 6)
        if self.out.length == 0:
            return
        sent = PyBytes_FromStringAndSize(<char*>self.out.data, self.out.length)
        self.out.length = 0
        if self.out.capacity > KEPT_BYTES:
            buffer_free(&self.out)
        self.transport.write(sent)
        if self.room_waiters and not self.write_paused:
            self.make_room()

    # --- the transport ----------------------------------------------------------------------------------------------

    def connection_made(self, transport):
        self.transport = transport

    def pause_writing(self):
        self.write_paused = True

    def resume_writing(self):
        self.write_paused = False
        self.make_room()
        self.schedule_flush()

    cdef void make_room(self):
        waiters, self.room_waiters = self.room_waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)

    def eof_received(self):
        self.abort(self.last_error or "the server closed the connection")

    def connection_lost(self, error):
        self.abort(self.last_error or (str(error) if error is not None else "the connection was closed"))

    def abort(self, str reason not None) -> None:
        """End the connection, and all that waits for it."""
        if self.closed:
            return
        self.closed = True
        self.closed_reason = reason
        if self.transport is not None:
            self.transport.abort()
        for sent, waiters in ((True, [item for waiters, _ in self.rounds for item in waiters]), (False, self.waiting)):
            for _, future in waiters:
                if not future.done():
                    future.set_exception(NatsClosed(reason, sent))
        for future in self.room_waiters:
            if not future.done():
                future.set_exception(NatsClosed(reason, False))
        self.rounds.clear()
        self.waiting = []
        self.room_waiters = []
        self.listeners.clear()
        buffer_free(&self.out)
        buffer_free(&self.input)
        self.on_closed(self, reason)
        self.give_back(self.asked, LOST_SENT)
        self.give_back(self.tail, LOST_UNSENT)

    # --- what is received -------------------------------------------------------------------------------------------

    def data_received(self, bytes data):
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t n = PyBytes_GET_SIZE(data), used
        if self.closed:
            return
        if self.input.length:
            if buffer_append(&self.input, at, n):
                self.abort("no memory for a message")
                return
            if self.input.length < self.need:
                return
            used = self.consume(self.input.data, self.input.length)
            if self.closed:
                return
            self.input.length -= used
            if self.input.length:
                memmove(self.input.data, self.input.data + used, self.input.length)
            elif self.input.capacity > KEPT_BYTES:
                buffer_free(&self.input)
            return
        used = self.consume(at, n)
        if not self.closed and n > used and buffer_append(&self.input, at + used, n - used):
            self.abort("no memory for a message")

    cdef size_t consume(self, const uint8_t* data, size_t n):
        """Take every whole operation; the bytes they had."""
        cdef size_t used = 0, line
        cdef const uint8_t* end
        self.need = 0
        while used < n and not self.closed:
            end = <const uint8_t*>memchr(data + used, c"\n", min(n - used, <size_t>MAX_LINE))
            if end == NULL:
                if n - used >= MAX_LINE:
                    self.abort(f"the server sent a line of more than {<int>MAX_LINE} bytes")
                break
            line = end - (data + used) + 1
            if data[used] in b"Mm" or data[used] in b"Hh":
                line = self.message(data + used, line, n - used)
                if line == 0:
                    break
            else:
                self.control(data + used, line)
            used += line
        return used

    cdef size_t message(self, const uint8_t* data, size_t line, size_t n):
        """Hand out a message; the bytes it had, 0 when it is not whole or the connection ended."""
        cdef const uint8_t* fields[MAX_FIELDS]
        cdef size_t lengths[MAX_FIELDS]
        cdef bint with_headers = data[0] in b"Hh"
        cdef size_t word = 4 if with_headers else 3, head = 0, total, size
        cdef int count, numbers = 2 if with_headers else 1
        cdef int64_t number, value
        if line <= word or not is_word(data, b"HMSG" if with_headers else b"MSG", word) or data[word] not in b" \t":
            self.abort("the server sent what is not NATS")
            return 0
        count = split(data + word, line - word, fields, lengths)
        if count != numbers + 2 and count != numbers + 3:
            self.abort("the server sent a message with a malformed head")
            return 0
        number = number_of(fields[1], lengths[1])
        value = number_of(fields[count - 1], lengths[count - 1])
        if number < 0 or value < 0:
            self.abort("the server sent a message with a malformed head")
            return 0
        if value > 2 * self.max_payload + SLACK:
            self.abort(f"the server sent a message of {value} bytes, and its max_payload is {self.max_payload}")
            return 0
        total = value
        if with_headers:
            value = number_of(fields[count - 2], lengths[count - 2])
            if value < 0 or <size_t>value > total:
                self.abort("the server sent a message whose headers are larger than itself")
                return 0
            head = value
        size = line + total + 2
        if n < size:
            self.need = size
            return 0
        if data[size - 2] != c"\r" or data[size - 1] != c"\n":
            self.abort("the server sent a message that has no end")
            return 0
        self.received += 1
        self.received_bytes += total
        listener = self.listeners.get(number)
        try:
            (self.on_stray if listener is None else listener)(
                (<char*>fields[0])[:lengths[0]],
                (<char*>fields[2])[:lengths[2]] if count == numbers + 3 else None,
                (<char*>data + line)[:head] if head else None,
                (<char*>data + line + head)[:total - head])
        except Exception as error:
            self.loop.call_exception_handler({"message": "a listener of NATS raised", "exception": error})
        return size

    cdef void control(self, const uint8_t* data, size_t line):
        """Everything that is no message."""
        cdef size_t n = line - 1
        if n and data[n - 1] == c"\r":
            n -= 1
        if n == 4 and is_word(data, b"PING", 4):
            buffer_append(&self.out, b"PONG\r\n", 6)
            self.schedule_flush()
        elif n == 4 and is_word(data, b"PONG", 4):
            if not self.rounds:
                self.abort("the server sent a PONG without a PING")
                return
            waiters, native = self.rounds.popleft()
            for _, future in waiters:
                if not future.done():
                    future.set_result(None)
            self.give_back(native, CONFIRMED)
        elif n >= 4 and is_word(data, b"-ERR", 4):
            self.refused((<char*>data + 4)[:n - 4].decode("utf-8", "replace").strip().strip("'"))
        elif n > 5 and is_word(data, b"INFO", 4):
            self.informed((<char*>data + 5)[:n - 5])
        elif n != 3 or not is_word(data, b"+OK", 3):
            self.abort("the server sent what is not NATS")

    cdef void informed(self, bytes text):
        try:
            info = json.loads(text)
            size = int(info.get("max_payload", self.max_payload))
            if not 0 < size <= 1 << 30:
                raise ValueError
        except (ValueError, AttributeError, TypeError, RecursionError):
            self.abort("the server sent a malformed INFO")
            return
        self.info = info
        self.max_payload = size
        if self.on_info is not None:
            self.on_info(info)

    cdef void refused(self, str text):
        """-ERR. A subject that is denied concerns who waits for it; what else is said comes before the end."""
        cdef bytes subject
        cdef uint64_t i
        found = _DENIED.match(text)
        if found is None:
            self.last_error = text
            return
        subject = found[1].encode()
        for i in range(self.head, self.rounds[0][1] if self.rounds else self.tail):
            if <bytes>self.native[i & (self.capacity - 1)].subject == subject:
                self.native[i & (self.capacity - 1)].denied = True
        for waiters in (*(waiters for waiters, _ in list(self.rounds)[:1]), self.waiting):
            for wanted, future in waiters:
                if wanted == subject and not future.done():
                    future.set_exception(NatsDenied(text))


cdef bint is_word(const uint8_t* data, const char* word, size_t n) noexcept:
    """Whether the bytes are these letters, large or small."""
    cdef size_t i
    cdef uint8_t byte
    for i in range(n):
        byte = data[i]
        if c"a" <= byte <= c"z":
            byte -= 32
        if byte != <uint8_t>word[i]:
            return False
    return True


cdef int split(const uint8_t* data, size_t n, const uint8_t** fields, size_t* lengths) noexcept:
    """The fields of a line, between blanks; -1 for more than a message has."""
    cdef int count = 0
    cdef size_t at = 0, start
    while True:
        while at < n and data[at] in b" \t\r\n":
            at += 1
        if at == n:
            return count
        if count == MAX_FIELDS:
            return -1
        start = at
        while at < n and data[at] not in b" \t\r\n":
            at += 1
        fields[count] = data + start
        lengths[count] = at - start
        count += 1


cdef int64_t number_of(const uint8_t* data, size_t n) noexcept:
    """A decimal number; -1 for anything else."""
    cdef int64_t found = 0
    cdef size_t i
    if n == 0 or n > 12:
        return -1
    for i in range(n):
        if not c"0" <= data[i] <= c"9":
            return -1
        found = found * 10 + data[i] - c"0"
    return found


# --- headers ----------------------------------------------------------------------------------------------------------

def headers_block(pairs) -> bytes:
    """The block of a message with these (name, value), both bytes that hold neither CR nor LF. ValueError."""
    cdef list parts = [b"NATS/1.0\r\n"]
    cdef bytes name, value
    for name, value in pairs:
        if not name or b":" in name or has_break(name) or has_break(value):
            raise ValueError("a header of NATS has a name without colon, and no line breaks")
        parts.append(name)
        parts.append(b": ")
        parts.append(value)
        parts.append(b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def parse_headers(bytes block not None):
    """(status, its description, list of (name, value)) of a block; status 0 where there is none. ValueError for what
    is none. One blank behind the colon is no part of a value."""
    cdef const char* data = PyBytes_AS_STRING(block)
    cdef size_t n = PyBytes_GET_SIZE(block), at, end, colon
    cdef const char* found
    cdef int status = 0
    cdef list pairs = []
    if n < 8 or memcmp(data, b"NATS/1.0", 8) != 0:
        raise ValueError("the headers do not begin with NATS/1.0")
    end = line_end(data, 8, n)
    first = data[8:end].strip(b" \t\r\n")
    description = b""
    if first:
        code, _, description = first.partition(b" ")
        if len(code) != 3 or not code.isdigit():
            raise ValueError("the headers have a malformed status")
        status = int(code)
    at = end
    while at < n:
        end = line_end(data, at, n)
        line = data[at:end].rstrip(b"\r\n")
        at = end
        if not line:
            break
        found = <const char*>memchr(PyBytes_AS_STRING(line), c":", PyBytes_GET_SIZE(line))
        if found == NULL or found == PyBytes_AS_STRING(line):
            raise ValueError("a header has no name")
        colon = found - PyBytes_AS_STRING(line)
        value = line[colon + 1:]
        pairs.append((line[:colon], value[1:] if value.startswith((b" ", b"\t")) else value))
    return status, description.strip().decode("utf-8", "replace"), pairs


cdef size_t line_end(const char* data, size_t at, size_t n) noexcept:
    """Behind the line that begins at `at`."""
    cdef const char* found = <const char*>memchr(data + at, c"\n", n - at) if at < n else NULL
    return n if found == NULL else found - data + 1


cdef bint has_break(bytes text) noexcept:
    return (memchr(PyBytes_AS_STRING(text), c"\r", PyBytes_GET_SIZE(text)) != NULL or
            memchr(PyBytes_AS_STRING(text), c"\n", PyBytes_GET_SIZE(text)) != NULL)
