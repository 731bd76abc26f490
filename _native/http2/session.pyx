"""HTTP/2 framing, HPACK and flow control by libnghttp2, behind two classes.

`H2Session` is an asyncio protocol: bytes in become upcalls on `H2Stream` objects, and what the session wants to send is
written once per loop iteration. Nothing in this file knows gRPC, and no other module knows nghttp2's session, so the
frame layer can be exchanged here.

Ownership: a session holds one reference to each open stream (an intrusive list) and a stream holds its session until
either closes it. nghttp2 does not report streams that die with their session, so the list is walked in
`connection_lost`.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from prism_proxy._native.http2.buffers cimport (
    buffer_append, buffer_free, buffer_reserve, chunk_free, chunks_free, chunks_take,
)
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.http2.inspector cimport FrameInspector
from prism_proxy._native.http2.limits cimport (
    CONCURRENT_STREAMS, CONTINUATIONS, CONTROL_QUEUE_CLOSE, CONTROL_QUEUE_PAUSE, SETTINGS_ENTRIES, STANDSTILL,
)
from prism_proxy._native.http2.nghttp2 cimport *
from prism_proxy._native.http2.session_options cimport session_options, submit_first_settings

from prism_proxy._native.http2.limits import NAMES as LIMIT_NAMES

cdef enum:
    NGHTTP2_ERR_WOULDBLOCK = -504
    WRITE_BYTES = 256 * 1024        # one transport write: enough to amortise the system call, small enough to stay fair
    REFUSED_OR_WORSE = 0b11101010   # bits of the RST_STREAM codes that a peer provokes: 1, 3, 5, 6, 7


@cython.no_gc
cdef class H2Stream:
    def __dealloc__(self):
        self.discard_output()

    cdef void enqueue(self, chunk_t* chunk) noexcept:
        """Append outgoing bytes. The queue owns the chunk; a closed stream drops it."""
        if self.session is None or self.local_ended:
            chunk_free(chunk)
            return
        if self.out_tail == NULL:
            self.out_head = chunk
            self.blocked_since_ns = self.session.now_ns
        else:
            self.out_tail.next = chunk
        self.out_tail = chunk
        self.out_bytes += chunk.length
        self.session.scheduler.waiting_bytes += chunk.length

    cdef void discard_output(self) noexcept:
        chunks_free(self.out_head)
        self.out_head = self.out_tail = NULL
        if self.session is not None:
            self.session.scheduler.waiting_bytes -= self.out_bytes
        self.out_bytes = 0

    cdef void reset(self, uint32_t code) noexcept:
        """RST_STREAM. Queued output is dropped; `on_close` follows when the frame is sent."""
        if self.session is None or self.session.h2 == NULL:
            return
        self.discard_output()
        nghttp2_submit_rst_stream(self.session.h2, 0, self.id, code)
        self.session.schedule_flush()

    cdef void consume(self, size_t n) noexcept:
        """Return stream credit for `n` bytes that are no longer held."""
        if n and self.session is not None and self.session.h2 != NULL:
            nghttp2_session_consume_stream(self.session.h2, self.id, n)
            self.session.schedule_flush()

    cdef int on_header(self, const uint8_t* name, size_t name_length, const uint8_t* value,
                       size_t value_length) noexcept:
        return 0

    cdef void on_headers(self) noexcept: pass
    cdef void on_data(self, const uint8_t* data, size_t n, bint last) noexcept: pass
    cdef void on_input_expiring(self) noexcept: pass
    cdef void on_end(self) noexcept: pass
    cdef void on_close(self, uint32_t code) noexcept: pass

    cdef bint reset_counts(self, int64_t now_ns) noexcept:
        return True

    cdef bint on_trailers_wanted(self) noexcept:
        return False

    cdef void on_output_drained(self) noexcept: pass


cdef class OutputScheduler:
    def __cinit__(self, loop):
        self.loop = loop
        self.dirty = []

    def __dealloc__(self):
        buffer_free(&self.out)

    cdef void add(self, H2Session session) noexcept:
        self.dirty.append(session)
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.run)

    def run(self):
        cdef list dirty = self.dirty
        cdef H2Session session
        self.dirty = []
        self.scheduled = False
        for session in dirty:
            session.flush_scheduled = False
            session.flush()


cdef class H2Session:
    def __cinit__(self):
        self.fatal_limit = -1

    def __dealloc__(self):
        if self.h2 != NULL:
            nghttp2_session_del(self.h2)

    # --- life ---------------------------------------------------------------------------------------------------
    cdef void open_session(self, bint server, int64_t concurrent_streams) except *:
        """Create the nghttp2 session and queue our SETTINGS. `limits`, `scheduler` must be set."""
        cdef nghttp2_option* options = session_options(self.limits, server)
        if server:
            failed = nghttp2_session_server_new2(&self.h2, CALLBACKS, <void*>self, options)
        else:
            failed = nghttp2_session_client_new2(&self.h2, CALLBACKS, <void*>self, options)
        nghttp2_option_del(options)
        if failed:
            raise MemoryError
        submit_first_settings(self.h2, self.limits, concurrent_streams if server else -1)
        if server:
            self.inspector = FrameInspector(self.guard)
        self.now_ns = self.connected_ns = self.last_read_ns = self.idle_since_ns = monotonic_ns()

    cdef void attach(self, H2Stream stream) noexcept:
        Py_INCREF(stream)
        stream.session = self
        stream.next = self.first_stream
        stream.previous = NULL
        if self.first_stream != NULL:
            (<H2Stream>self.first_stream).previous = <void*>stream
        self.first_stream = <void*>stream
        self.streams += 1

    cdef void detach(self, H2Stream stream, uint32_t code) noexcept:
        if stream.session is None:
            return
        if stream.previous != NULL:
            (<H2Stream>stream.previous).next = stream.next
        else:
            self.first_stream = stream.next
        if stream.next != NULL:
            (<H2Stream>stream.next).previous = stream.previous
        stream.next = stream.previous = NULL
        self.streams -= 1
        if self.streams == 0:
            self.idle_since_ns = self.now_ns
        if self.header_stream is stream:
            self.header_stream = None
        if self.borrowing_stream is stream:
            self.borrowing_stream = None
        stream.discard_output()
        stream.on_close(code)
        stream.session = None
        Py_DECREF(stream)

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_BYTES)
        self.flush()

    def connection_lost(self, exc):
        cdef H2Stream stream
        self.closing = True
        self.now_ns = monotonic_ns()
        while self.first_stream != NULL:
            stream = <H2Stream>self.first_stream
            self.detach(stream, H2_CANCEL)
        if self.h2 != NULL:
            nghttp2_session_del(self.h2)
            self.h2 = NULL
        self.transport = None
        self.on_lost()

    cdef void abort(self) noexcept:
        """Close without waiting for the peer; `connection_lost` follows."""
        self.closing = True
        if self.transport is not None:
            self.transport.abort()

    cdef void finish(self) noexcept:
        """Close once everything is written."""
        self.closing = True
        if self.transport is not None:
            self.transport.close()

    # --- bytes in -----------------------------------------------------------------------------------------------
    def data_received(self, bytes data not None):
        cdef ssize_t consumed
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
        if self.h2 == NULL or self.closing:
            return
        self.now_ns = monotonic_ns()
        self.limits.alive(self.now_ns)
        if self.limits.outdated(self.now_ns, self.last_read_ns):
            self.limits.hits[STANDSTILL] += 1
            self.abort()
            return
        self.last_read_ns = self.now_ns
        self.bytes_in += PyBytes_GET_SIZE(data)
        self.in_receive = True
        if self.inspector is None:
            consumed = nghttp2_session_mem_recv(self.h2, start, PyBytes_GET_SIZE(data))
        else:
            consumed = self.inspector.receive(self.h2, start, start + PyBytes_GET_SIZE(data), self.now_ns)
        if self.borrowing_stream is not None:
            self.borrowing_stream.on_input_expiring()
            self.borrowing_stream = None
        self.in_receive = False
        if consumed < 0:
            self.receive_failed(<int>consumed)
            return
        self.flush()
        if self.write_paused and not self.read_paused and self.h2 != NULL:
            if nghttp2_session_get_outbound_queue_size(self.h2) > <size_t>self.limits.control_queue_pause:
                self.limits.hits[CONTROL_QUEUE_PAUSE] += 1
                self.read_paused = True
                self.transport.pause_reading()

    def eof_received(self):
        # gRPC has no half-closed connections: returning None lets the transport close.
        return None

    cdef void receive_failed(self, int error) noexcept:
        if self.inspector is not None and self.inspector.limit >= 0:
            self.limit_exceeded(self.inspector.limit)
        cdef int limit = self.fatal_limit
        if limit < 0:
            if error == NGHTTP2_ERR_FLOODED:
                limit = CONTROL_QUEUE_CLOSE
            elif error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
                limit = CONTINUATIONS
            elif error == NGHTTP2_ERR_TOO_MANY_SETTINGS:
                limit = SETTINGS_ENTRIES
            if limit >= 0:
                self.limits.hits[limit] += 1
        if limit >= 0:
            self.write_goaway(H2_ENHANCE_YOUR_CALM, LIMIT_NAMES[limit].encode())
        elif self.inspector is not None and self.inspector.violation:
            self.write_goaway(self.inspector.violation, b"frame on a closed stream, or self-dependency")
        elif error != NGHTTP2_ERR_BAD_CLIENT_MAGIC:
            self.write_goaway(H2_PROTOCOL_ERROR, nghttp2_strerror(error))
        self.finish()

    cdef void write_goaway(self, uint32_t code, bytes reason) noexcept:
        """GOAWAY by hand: after a fatal error nghttp2 sends nothing any more."""
        if self.transport is None:
            return
        cdef int32_t last = nghttp2_session_get_last_proc_stream_id(self.h2)
        payload = last.to_bytes(4, "big") + code.to_bytes(4, "big") + reason
        self.transport.write(len(payload).to_bytes(3, "big") + b"\x07\x00\x00\x00\x00\x00" + payload)

    cdef void limit_exceeded(self, int limit) noexcept:
        """A connection-level limit was hit inside a callback: remember it and let nghttp2 stop."""
        self.limits.hits[limit] += 1
        if self.fatal_limit < 0:
            self.fatal_limit = limit

    # --- bytes out ----------------------------------------------------------------------------------------------
    cdef void schedule_flush(self) noexcept:
        if not self.flush_scheduled and not self.in_receive and not self.closing:
            self.flush_scheduled = True
            self.scheduler.add(self)

    cdef void flush(self) noexcept:
        """Write what the session wants to send, until the transport says stop."""
        cdef const uint8_t* frame
        cdef ssize_t n
        cdef buffer_t* out = &self.scheduler.out
        if self.h2 == NULL or self.transport is None or self.closing or self.in_receive:
            return
        while not self.write_paused:
            out.length = 0
            while out.length < WRITE_BYTES:
                n = nghttp2_session_mem_send(self.h2, &frame)
                if n <= 0:
                    break
                if buffer_append(out, frame, n) != 0:
                    self.abort()
                    return
            if n < 0:
                self.receive_failed(<int>n)
                return
            if out.length == 0:
                break
            self.bytes_out += out.length
            self.transport.write(PyBytes_FromStringAndSize(<char*>out.data, out.length))
            if out.length < WRITE_BYTES:
                break
        if self.read_paused and not self.write_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if not nghttp2_session_want_read(self.h2) and not nghttp2_session_want_write(self.h2):
            self.finish()

    def pause_writing(self):
        self.write_paused = True
        self.paused_since_ns = self.now_ns

    def resume_writing(self):
        self.write_paused = False
        self.now_ns = monotonic_ns()
        self.flush()

    # --- frames -------------------------------------------------------------------------------------------------
    cdef void goaway(self, uint32_t code, bytes reason) noexcept:
        """Immediate GOAWAY: streams in progress are reset."""
        if self.h2 != NULL and not self.closing:
            self.goaway_sent = True
            nghttp2_submit_goaway(self.h2, 0, nghttp2_session_get_last_proc_stream_id(self.h2), code,
                                  <const uint8_t*>PyBytes_AS_STRING(reason), len(reason))
            nghttp2_session_terminate_session(self.h2, code)
            self.schedule_flush()

    cdef void shutdown_notice(self) noexcept:
        """First step of a graceful shutdown: GOAWAY with the largest stream id, so that no request races it."""
        if self.h2 != NULL:
            nghttp2_submit_shutdown_notice(self.h2)
            self.schedule_flush()

    cdef void final_goaway(self) noexcept:
        """Second step: GOAWAY with the real last stream id. Later streams are ignored, and safe to retry."""
        if self.h2 != NULL and not self.goaway_sent:
            self.goaway_sent = True
            nghttp2_submit_goaway(
                self.h2, 0, nghttp2_session_get_last_proc_stream_id(self.h2), H2_NO_ERROR, NULL, 0)
            self.schedule_flush()

    cdef void ping(self, uint64_t payload) noexcept:
        if self.h2 != NULL:
            nghttp2_submit_ping(self.h2, 0, <const uint8_t*>&payload)
            self.schedule_flush()

    cdef int submit_headers(self, H2Stream stream, nghttp2_nv* nva, size_t n, bint end_stream) noexcept:
        """The response head. Without `end_stream` the stream's queue follows as DATA. 0, or a nghttp2 error."""
        cdef nghttp2_data_provider provider
        if end_stream:
            stream.local_ended = True
            return nghttp2_submit_response(self.h2, stream.id, nva, n, NULL)
        provider.source.ptr = <void*>stream
        provider.read_callback = read_output
        return nghttp2_submit_response(self.h2, stream.id, nva, n, &provider)

    cdef int submit_request(self, H2Stream stream, nghttp2_nv* nva, size_t n) noexcept:
        """Open a stream; its queue follows as DATA. The stream id, or a negative nghttp2 error."""
        cdef nghttp2_data_provider provider
        provider.source.ptr = <void*>stream
        provider.read_callback = read_output
        cdef int32_t stream_id = nghttp2_submit_request(self.h2, NULL, nva, n, &provider, <void*>stream)
        if stream_id > 0:
            stream.id = stream_id
            self.attach(stream)
        return stream_id

    cdef int submit_trailers(self, H2Stream stream, nghttp2_nv* nva, size_t n) noexcept:
        return nghttp2_submit_trailer(self.h2, stream.id, nva, n)

    cdef void resume(self, H2Stream stream) noexcept:
        """The stream got output, or its end: let nghttp2 ask for it again if it was put off."""
        if stream.out_deferred and self.h2 != NULL:
            stream.out_deferred = False
            nghttp2_session_resume_data(self.h2, stream.id)
        self.schedule_flush()

    cdef int64_t remote_stream_limit(self) noexcept:
        """How many streams the peer lets us have open."""
        return nghttp2_session_get_remote_settings(self.h2, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)

    cdef H2Stream new_stream(self):
        return None

    cdef void on_settings(self) noexcept: pass
    cdef void on_ping_ack(self, uint64_t payload) noexcept: pass
    cdef void on_goaway(self, int32_t last_stream_id, uint32_t code) noexcept: pass
    cdef void on_lost(self) noexcept: pass


# --- nghttp2 callbacks --------------------------------------------------------------------------------------------
# `user` is the session, borrowed. None of them may raise.

cdef int on_begin_headers(nghttp2_session* h2, const nghttp2_frame* frame, void* user) noexcept:
    cdef H2Session session = <H2Session>user
    cdef H2Stream stream
    cdef void* known
    session.headers_began_ns = session.now_ns
    if session.guard is None:
        known = nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
        session.header_stream = None if known == NULL else <H2Stream>known
        return 0
    session.header_stream = None
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        return 0  # request trailers carry nothing that gRPC servers read
    stream = session.new_stream()
    if stream is None:
        nghttp2_submit_rst_stream(h2, 0, frame.hd.stream_id, H2_REFUSED_STREAM)
        return 0
    stream.id = frame.hd.stream_id
    stream.opened_ns = session.now_ns
    session.attach(stream)
    nghttp2_session_set_stream_user_data(h2, frame.hd.stream_id, <void*>stream)
    session.header_stream = stream
    return 0


cdef int on_header(nghttp2_session* h2, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
                   const uint8_t* value, size_t value_length, uint8_t flags, void* user) noexcept:
    cdef H2Session session = <H2Session>user
    cdef int limit
    if session.header_stream is None:
        return 0
    limit = session.header_stream.on_header(name, name_length, value, value_length)
    if limit > 0:
        session.limit_exceeded(limit)
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_data_chunk(nghttp2_session* h2, uint8_t flags, int32_t stream_id, const uint8_t* data, size_t n,
                       void* user) noexcept:
    cdef void* known = nghttp2_session_get_stream_user_data(h2, stream_id)
    # Connection credit is returned on receipt: what bounds memory is the credit of the stream.
    nghttp2_session_consume_connection(h2, n)
    if known == NULL:
        nghttp2_session_consume_stream(h2, stream_id, n)
        return 0
    flags &= NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_PADDED
    (<H2Stream>known).on_data(data, n, flags == NGHTTP2_FLAG_END_STREAM)
    return 0


cdef int on_frame(nghttp2_session* h2, const nghttp2_frame* frame, void* user) noexcept:
    cdef H2Session session = <H2Session>user
    cdef int kind = frame.hd.type
    cdef int limit = -1
    cdef uint64_t payload
    cdef void* known
    cdef H2Stream stream
    if kind == NGHTTP2_DATA or kind == NGHTTP2_HEADERS:
        known = nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
        if kind == NGHTTP2_HEADERS:
            session.headers_began_ns = 0
        if known == NULL:
            return 0
        stream = <H2Stream>known
        if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            stream.remote_ended = True
        if kind == NGHTTP2_HEADERS and session.header_stream is stream:
            session.header_stream = None
            stream.on_headers()
        if frame.hd.flags & NGHTTP2_FLAG_END_STREAM and stream.session is not None:
            stream.on_end()
    elif kind == NGHTTP2_SETTINGS:
        session.settings_seen = True
        session.on_settings()
    elif kind == NGHTTP2_PING:
        memcpy(&payload, frame.ping.opaque_data, 8)
        if frame.hd.flags & NGHTTP2_FLAG_ACK:
            session.on_ping_ack(payload)
        elif session.guard is not None:
            limit = session.guard.ping_received(session.now_ns)
    elif kind == NGHTTP2_RST_STREAM:
        known = nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
        if session.guard is not None and known != NULL and (<H2Stream>known).reset_counts(session.now_ns):
            limit = session.guard.reset_counted(session.now_ns)
    elif kind == NGHTTP2_GOAWAY:
        session.goaway_received = True
        session.on_goaway(frame.goaway.last_stream_id, frame.goaway.error_code)
    if limit >= 0:
        session.limit_exceeded(limit)
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_frame_sent(nghttp2_session* h2, const nghttp2_frame* frame, void* user) noexcept:
    cdef H2Session session = <H2Session>user
    cdef int kind = frame.hd.type, limit
    cdef void* known
    if session.guard is None:
        if kind == NGHTTP2_HEADERS:
            known = nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
            if known != NULL:
                (<H2Stream>known).head_framed = True
        return 0
    if kind == NGHTTP2_RST_STREAM and frame.rst_stream.error_code == H2_REFUSED_STREAM:
        session.limits.hits[CONCURRENT_STREAMS] += 1
    if kind == NGHTTP2_HEADERS:
        session.guard.progress()
        if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            known = nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
            if known != NULL and not (<H2Stream>known).remote_ended:
                # Answered before the request ended: the rest of it is not wanted (RFC 9113, 8.1).
                nghttp2_submit_rst_stream(h2, 0, frame.hd.stream_id, H2_NO_ERROR)
    elif kind == NGHTTP2_DATA:
        session.guard.data_frames_sent += 1
        session.guard.progress()
    elif kind == NGHTTP2_RST_STREAM:
        if session.inspector is not None:
            session.inspector.reset_sent(frame.hd.stream_id)
        if frame.rst_stream.error_code < 8 and (REFUSED_OR_WORSE >> frame.rst_stream.error_code) & 1:
            limit = session.guard.reset_counted(session.now_ns)
            if limit >= 0:
                session.limit_exceeded(limit)
                return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_stream_close(nghttp2_session* h2, int32_t stream_id, uint32_t code, void* user) noexcept:
    cdef void* known = nghttp2_session_get_stream_user_data(h2, stream_id)
    if known != NULL:
        (<H2Session>user).detach(<H2Stream>known, code)
    return 0


cdef ssize_t read_output(nghttp2_session* h2, int32_t stream_id, uint8_t* buf, size_t length, uint32_t* flags,
                         nghttp2_data_source* source, void* user) noexcept:
    """How many bytes of the queue the next DATA frame takes; `send_output` copies them."""
    cdef H2Stream stream = <H2Stream>source.ptr
    cdef size_t n = stream.out_bytes if stream.out_bytes < length else length
    if n == 0 and not stream.out_ended:
        stream.out_deferred = True
        return NGHTTP2_ERR_DEFERRED
    flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
    if stream.out_ended and n == stream.out_bytes:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
        stream.local_ended = True
        if stream.on_trailers_wanted():
            flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
    return n


cdef int send_output(nghttp2_session* h2, nghttp2_frame* frame, const uint8_t* head, size_t length,
                     nghttp2_data_source* source, void* user) noexcept:
    cdef H2Session session = <H2Session>user
    cdef H2Stream stream = <H2Stream>source.ptr
    cdef buffer_t* out = &session.scheduler.out
    if out.length >= WRITE_BYTES:
        return NGHTTP2_ERR_WOULDBLOCK
    if buffer_reserve(out, 9 + length) != 0:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    memcpy(out.data + out.length, head, 9)
    chunks_take(&stream.out_head, &stream.out_tail, out.data + out.length + 9, length)
    out.length += 9 + length
    stream.out_bytes -= length
    stream.sent_bytes += length
    session.scheduler.waiting_bytes -= length
    stream.blocked_since_ns = session.now_ns
    if not stream.local_ended:
        stream.on_output_drained()
    return 0


cdef nghttp2_session_callbacks* make_callbacks() except NULL:
    cdef nghttp2_session_callbacks* callbacks = NULL
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        raise MemoryError
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, <void*>on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(callbacks, <void*>on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, <void*>on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, <void*>on_frame)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, <void*>on_frame_sent)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, <void*>on_stream_close)
    nghttp2_session_callbacks_set_send_data_callback(callbacks, <void*>send_output)
    return callbacks


# One immutable table of function pointers for every session of the process.
cdef nghttp2_session_callbacks* CALLBACKS = make_callbacks()
