"""The frame layer: HTTP/2 over libnghttp2. gRPC is built on the two classes here and never sees nghttp2."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from prism_proxy._native.http2.buffers cimport buffer_t, chunk_t
from prism_proxy._native.http2.flood cimport FloodGuard
from prism_proxy._native.http2.inspector cimport FrameInspector
from prism_proxy._native.http2.limits cimport NativeLimits
from prism_proxy._native.http2.nghttp2 cimport nghttp2_nv, nghttp2_session

cdef enum:
    H2_NO_ERROR = 0
    H2_PROTOCOL_ERROR = 1
    H2_INTERNAL_ERROR = 2
    H2_REFUSED_STREAM = 7
    H2_CANCEL = 8
    H2_ENHANCE_YOUR_CALM = 11


cdef class H2Stream:
    """One HTTP/2 stream. `session` is None once the stream is closed. Outgoing bytes wait in a queue of chunks."""
    cdef H2Session session
    cdef void* previous
    cdef void* next
    cdef int32_t id
    cdef chunk_t* out_head
    cdef chunk_t* out_tail
    cdef size_t out_bytes
    cdef bint out_ended, out_deferred, remote_ended, local_ended, head_framed   # the last one on client streams only
    cdef int64_t opened_ns, blocked_since_ns
    cdef size_t withheld_credit
    cdef uint64_t sent_bytes

    cdef void enqueue(self, chunk_t* chunk) noexcept
    cdef void discard_output(self) noexcept
    cdef void reset(self, uint32_t code) noexcept
    cdef void consume(self, size_t n) noexcept
    # Upcalls. `on_trailers_wanted` submits the trailing header block, or answers False for a stream without one.
    cdef int on_header(self, const uint8_t* name, size_t name_length, const uint8_t* value,
                       size_t value_length) noexcept
    cdef void on_headers(self) noexcept
    cdef void on_data(self, const uint8_t* data, size_t n, bint last) noexcept
    cdef void on_input_expiring(self) noexcept
    cdef void on_end(self) noexcept
    cdef void on_close(self, uint32_t code) noexcept
    cdef bint reset_counts(self, int64_t now_ns) noexcept
    cdef bint on_trailers_wanted(self) noexcept
    cdef void on_output_drained(self) noexcept


cdef class H2Session:
    """One connection: an asyncio protocol that feeds a nghttp2 session and coalesces what it wants to send."""
    cdef object __weakref__
    cdef nghttp2_session* h2
    cdef readonly object transport
    cdef object loop
    cdef readonly NativeLimits limits
    cdef FloodGuard guard
    cdef OutputScheduler scheduler
    cdef bint flush_scheduled, write_paused, read_paused, in_receive, closing
    cdef void* first_stream
    cdef H2Stream header_stream
    cdef H2Stream borrowing_stream
    cdef readonly int streams
    cdef readonly uint64_t bytes_in, bytes_out
    cdef int64_t now_ns, connected_ns, last_read_ns, idle_since_ns, headers_began_ns, paused_since_ns
    cdef bint settings_seen, goaway_sent, goaway_received
    cdef int fatal_limit
    cdef FrameInspector inspector

    cdef void open_session(self, bint server, int64_t concurrent_streams) except *
    cdef void attach(self, H2Stream stream) noexcept
    cdef void detach(self, H2Stream stream, uint32_t code) noexcept
    cdef void schedule_flush(self) noexcept
    cdef void flush(self) noexcept
    cdef void finish(self) noexcept
    cdef void limit_exceeded(self, int limit) noexcept
    cdef void goaway(self, uint32_t code, bytes reason) noexcept
    cdef void shutdown_notice(self) noexcept
    cdef void final_goaway(self) noexcept
    cdef void ping(self, uint64_t payload) noexcept
    cdef void abort(self) noexcept
    cdef void receive_failed(self, int error) noexcept
    cdef void write_goaway(self, uint32_t code, bytes reason) noexcept
    cdef int submit_headers(self, H2Stream stream, nghttp2_nv* nva, size_t n, bint end_stream) noexcept
    cdef int submit_request(self, H2Stream stream, nghttp2_nv* nva, size_t n) noexcept
    cdef int submit_trailers(self, H2Stream stream, nghttp2_nv* nva, size_t n) noexcept
    cdef void resume(self, H2Stream stream) noexcept
    cdef int64_t remote_stream_limit(self) noexcept
    # Upcalls.
    cdef H2Stream new_stream(self)
    cdef void on_settings(self) noexcept
    cdef void on_ping_ack(self, uint64_t payload) noexcept
    cdef void on_goaway(self, int32_t last_stream_id, uint32_t code) noexcept
    cdef void on_lost(self) noexcept


cdef class OutputScheduler:
    """Flushes every connection that got output during a loop iteration once, at its end."""
    cdef object loop
    cdef list dirty
    cdef bint scheduled
    cdef buffer_t out
    cdef int64_t waiting_bytes      # of all streams, queued to be sent
    cdef void add(self, H2Session session) noexcept
