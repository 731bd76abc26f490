"""The client side of the native gRPC core: one connection, its calls, and nothing of policy.

`prism_proxy.server.channel` adds connecting, reconnecting and retrying what was never executed. A call is driven by the
coroutine that made it; messages are bytes.
"""
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from prism_proxy._native.http2.buffers cimport buffer_free, chunk_borrow, chunk_bytes, chunk_new, chunk_t
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.http2.session cimport H2_CANCEL, H2_REFUSED_STREAM, H2Session, H2Stream, OutputScheduler
from prism_proxy._native.http2.limits cimport NativeLimits
from prism_proxy._native.grpc.messages cimport (
    ASSEMBLE_MESSAGE, ASSEMBLE_NO_MEMORY, ASSEMBLE_TOO_LARGE, assemble, assembler_in_message, assembler_t,
)
from prism_proxy._native.http2.name_values cimport MAX_NV, add_pairs, fixed
from prism_proxy._native.http2.nghttp2 cimport nghttp2_nv
from prism_proxy._native.grpc.wire cimport decode_binary, encode_metadata, metadata_pair

from prism_proxy._native.grpc.wire import MessageTooLarge, format_timeout, inflate_bytes, percent_decode

cdef enum:
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    OUTPUT_HIGH_WATER = 1 << 18

# HTTP status of a reply that is no gRPC reply -> gRPC status.
cdef dict HTTP_STATUSES = {400: INTERNAL, 401: 16, 403: 7, 404: 12, 429: UNAVAILABLE, 502: UNAVAILABLE,
                           503: UNAVAILABLE, 504: UNAVAILABLE}


class CallError(Exception):
    """A call ended with a status other than OK.

    `code` is the gRPC number; `executed` is False when the server surely did not see the call, so that it may be sent
    again; `trailers` are (name, value) pairs, `-bin` values as bytes.
    """

    def __init__(self, int code, str message, tuple trailers=(), bint executed=True):
        super().__init__(f"status {code}: {message}")
        self.code = code
        self.message = message
        self.trailers = trailers
        self.executed = executed


cdef class ClientCall(H2Stream):
    """One call. Created by `ClientConnection.call`; used by one coroutine at a time for each direction."""
    cdef ClientConnection connection
    cdef object reader, writer, inbox
    cdef list fields
    cdef readonly tuple initial_metadata
    cdef assembler_t input
    cdef bint head_seen, finished, executed
    cdef int code, http_status
    cdef str message
    cdef tuple trailers

    def __dealloc__(self):
        buffer_free(&self.input.message)

    # --- request ------------------------------------------------------------------------------------------------

    async def send(self, bytes message not None):
        """Queue one request message; waits while the server is slow. CallError once the call has ended."""
        if self.finished:
            raise self.error()
        self.push(message)
        while self.out_bytes > OUTPUT_HIGH_WATER and not self.finished:
            self.writer = self.connection.loop.create_future()
            try:
                await self.writer
            finally:
                self.writer = None

    cdef void push(self, bytes message) except *:
        cdef size_t n = PyBytes_GET_SIZE(message)
        cdef chunk_t* chunk = chunk_new(5)
        cdef uint8_t* out
        if chunk == NULL:
            raise MemoryError
        out = chunk_bytes(chunk)
        out[0] = 0
        out[1] = <uint8_t>(n >> 24)
        out[2] = <uint8_t>(n >> 16)
        out[3] = <uint8_t>(n >> 8)
        out[4] = <uint8_t>n
        self.enqueue(chunk)
        if n:
            chunk = chunk_borrow(<const uint8_t*>PyBytes_AS_STRING(message), n, <void*>message, release_object)
            if chunk == NULL:
                raise MemoryError
            Py_INCREF(message)
            self.enqueue(chunk)
        if self.session is not None:
            self.session.resume(self)

    def half_close(self):
        """No further request messages follow."""
        self.out_ended = True
        if self.session is not None:
            self.session.resume(self)

    def cancel(self):
        """Reset the call, if it still runs."""
        if not self.finished:
            self.reset(H2_CANCEL)
            self.conclude(CANCELLED, "cancelled by the caller", ())

    # --- reply --------------------------------------------------------------------------------------------------

    async def read(self):
        """The next reply message, or None at the end of an OK call. CallError for any other end."""
        while not self.inbox:
            if self.finished:
                if self.code != OK:
                    raise self.error()
                return None
            self.reader = self.connection.loop.create_future()
            try:
                await self.reader
            finally:
                self.reader = None
        message = self.inbox.popleft()
        if not self.inbox:
            self.consume(self.withheld_credit)
            self.withheld_credit = 0
        return message

    def error(self):
        return CallError(self.code, self.message or "", self.trailers or (), self.executed)

    @property
    def trailing_metadata(self):
        return self.trailers or ()

    cdef int on_header(self, const uint8_t* name, size_t name_length, const uint8_t* value,
                       size_t value_length) noexcept:
        if self.fields is None:
            self.fields = []
        self.fields.append(((<char*>name)[:name_length], (<char*>value)[:value_length]))
        return 0

    cdef void on_headers(self) noexcept:
        cdef list fields = self.fields
        self.fields = []
        try:
            self.head_arrived(dict(fields), public(fields))
        except Exception as error:
            self.fail(INTERNAL, f"malformed reply head: {error}")

    cdef void head_arrived(self, dict fields, tuple metadata) except *:
        if not self.head_seen:
            self.head_seen = True
            self.initial_metadata = metadata
            self.http_status = int(fields.get(b":status", b"0"))
            if self.http_status != 200 or not fields.get(b"content-type", b"").startswith(b"application/grpc"):
                self.fail(HTTP_STATUSES.get(self.http_status, UNKNOWN),
                          f"HTTP status {self.http_status} is no gRPC reply")
                return
        if b"grpc-status" in fields:
            text = fields[b"grpc-status"]
            self.conclude(int(text) if text.isdigit() else UNKNOWN, percent_decode(fields.get(b"grpc-message", b"")),
                          metadata)

    cdef void on_data(self, const uint8_t* data, size_t n, bint last) noexcept:
        cdef int rc
        # Credit is withheld only while messages wait unread: the one being assembled must be able to arrive.
        if self.inbox:
            self.withheld_credit += n
        else:
            self.consume(n)
        while n and not self.finished:
            rc = assemble(&self.input, &data, &n, <size_t>self.connection.limits.max_reply_bytes)
            if rc == ASSEMBLE_MESSAGE:
                self.message_arrived(
                    PyBytes_FromStringAndSize(<char*>self.input.message.data, self.input.message.length))
            elif rc == ASSEMBLE_TOO_LARGE:
                self.fail(RESOURCE_EXHAUSTED, (
                    f"the reply message of {self.input.message_length} bytes is larger than max_reply_bytes "
                    f"({self.connection.limits.max_reply_bytes})"))
            elif rc == ASSEMBLE_NO_MEMORY:
                self.fail(RESOURCE_EXHAUSTED, "no memory for the reply message")

    cdef void message_arrived(self, bytes message) noexcept:
        try:
            if self.input.prefix[0]:
                message = inflate_bytes(message, self.connection.limits.max_reply_bytes)
        except (ValueError, MessageTooLarge) as error:
            self.fail(INTERNAL, str(error))
            return
        self.inbox.append(message)
        self.wake(self.reader)

    cdef void on_end(self) noexcept:
        if not self.finished:
            self.fail(INTERNAL, "the reply ended without a status")

    cdef void on_close(self, uint32_t code) noexcept:
        if not self.finished:
            self.executed = code != H2_REFUSED_STREAM and not self.connection.unseen(self.id)
            if code == H2_CANCEL and self.executed and self.connection.h2 != NULL:
                self.conclude(CANCELLED, "the server reset the call", ())
            else:
                self.conclude(UNAVAILABLE, f"the call was reset (HTTP/2 error {code}) or its connection lost", ())

    cdef void on_output_drained(self) noexcept:
        if self.writer is not None and self.out_bytes <= OUTPUT_HIGH_WATER // 2:
            self.wake(self.writer)

    cdef void fail(self, int code, str message) noexcept:
        self.conclude(code, message, ())
        self.reset(H2_CANCEL)

    cdef void conclude(self, int code, str message, tuple trailers) noexcept:
        if self.finished:
            return
        self.finished = True
        self.code = code
        self.message = message
        self.trailers = trailers
        if code == OK and assembler_in_message(&self.input):
            self.code = INTERNAL
            self.message = "the reply ended in the middle of a message"
        self.wake(self.reader)
        self.wake(self.writer)

    cdef void wake(self, object future) noexcept:
        if future is not None and not future.done():
            future.set_result(None)


cdef class ClientConnection(H2Session):
    """One connection to a gRPC server, as an asyncio protocol. `closed` is called once it takes no more calls."""
    cdef str authority
    cdef object on_closed
    cdef int32_t last_seen

    def __init__(self, loop, NativeLimits limits not None, str authority not None, closed):
        self.loop = loop
        self.limits = limits
        self.scheduler = OutputScheduler(loop)
        self.authority = authority
        self.on_closed = closed
        self.last_seen = -1
        self.open_session(False, 0)

    @property
    def usable(self) -> bool:
        """Whether new calls may start here."""
        return self.h2 != NULL and not self.closing and not self.goaway_received and self.transport is not None

    def call(self, str path not None, metadata=(), timeout_s=None) -> ClientCall:
        """Start a call; `timeout_s` is sent to the server, which enforces it. CallError when not usable."""
        cdef nghttp2_nv nva[MAX_NV]
        cdef int n
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        if not self.usable:
            raise CallError(UNAVAILABLE, "the connection is closing", (), False)
        call.connection = self
        call.inbox = deque()
        call.executed = True
        encoded_path, authority = path.encode(), self.authority.encode()
        pairs = [(b":path", encoded_path), (b":authority", authority)]
        if timeout_s is not None:
            pairs.append((b"grpc-timeout", format_timeout(<int64_t>(<double>timeout_s * 1e9))))
        pairs += encode_metadata(metadata)
        nva[0] = fixed(":method", 7, "POST", 4)
        nva[1] = fixed(":scheme", 7, "http", 4)
        nva[2] = fixed("te", 2, "trailers", 8)
        nva[3] = fixed("content-type", 12, "application/grpc", 16)
        nva[4] = fixed("grpc-accept-encoding", 20, "identity,gzip,deflate", 21)
        # Pseudo fields come first.
        n = add_pairs(nva + 5, 0, pairs) + 5
        nva[2], nva[5] = nva[5], nva[2]
        nva[3], nva[6] = nva[6], nva[3]
        self.now_ns = monotonic_ns()
        if self.submit_request(call, nva, n) < 0:
            raise CallError(UNAVAILABLE, "the connection takes no more calls", (), False)
        self.schedule_flush()
        return call

    async def unary(self, str path not None, bytes request not None, metadata=(), timeout_s=None) -> bytes:
        """One request, one reply. CallError for any status but OK, also when the reply is missing."""
        cdef ClientCall call = self.call(path, metadata, timeout_s)
        try:
            call.push(request)
            call.half_close()
            reply = await call.read()
            if reply is None:
                raise CallError(UNIMPLEMENTED, "the reply has no message", call.trailers)
            if await call.read() is not None:
                raise CallError(UNIMPLEMENTED, "a unary reply has more than one message", ())
            return reply
        finally:
            call.cancel()

    def close(self) -> None:
        """Close now; calls in progress end UNAVAILABLE."""
        self.abort()

    cdef bint unseen(self, int32_t stream_id) noexcept:
        """Whether the server said (GOAWAY) that it will not look at the stream."""
        return self.last_seen >= 0 and stream_id > self.last_seen

    cdef void on_goaway(self, int32_t last_stream_id, uint32_t code) noexcept:
        self.last_seen = last_stream_id
        self.on_closed(self)

    cdef void on_lost(self) noexcept:
        self.on_closed(self)


cdef tuple public(list fields):
    """The metadata among the fields of a head, in order."""
    cdef list out = []
    cdef bytes name, value
    for name, value in fields:
        pair = metadata_pair(<const uint8_t*>PyBytes_AS_STRING(name), len(name),
                             <const uint8_t*>PyBytes_AS_STRING(value), len(value))
        if name == b"grpc-status-details-bin":
            pair = ("grpc-status-details-bin", decode_binary(value))
        if pair is not None:
            out.append(pair)
    return tuple(out)


cdef void release_object(void* owner) noexcept:
    Py_DECREF(<object>owner)
