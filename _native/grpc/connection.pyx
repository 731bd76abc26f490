"""The life of a server connection: admission, time limits, keepalive, graceful end."""
import random

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.core cimport GrpcSession, ServerCore
from prism_proxy._native.http2.flood cimport FloodGuard
from prism_proxy._native.http2.session cimport H2_CANCEL, H2_ENHANCE_YOUR_CALM, H2Stream
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.http2.limits cimport (
    AGE, HANDSHAKE, HEADER_TIMEOUT, IDLE, KEEPALIVE, REPLY_BUDGET, REPLY_DRAIN, REQUEST_AGE, REQUEST_RATE, ZERO_WINDOW,
    NativeLimits,
)
from prism_proxy._native.grpc.messages cimport assembler_in_message
from prism_proxy._native.http2.pace cimport too_slow
from prism_proxy._native.grpc.request_head cimport BY_PROXY, BY_WORKER, peer_trust_t

cdef enum:
    RESOURCE_EXHAUSTED = 8
    UNAVAILABLE = 14
    DRAIN_PING = 0x505249534D       # our payloads, told apart from a peer's on the acknowledgement
    KEEPALIVE_PING = 0x4B454550
    TRUSTED_STREAMS = 10_000
    REQUEST_WINDOW_NS = 10_000_000_000
    PRESSED_WINDOW_NS = 2_000_000_000   # while more is held than the budgets allow
    PRESSED_DRAIN_NS = 10_000_000_000
    PRESSED_RATE = 64
    LINGER_NS = 1_000_000_000       # how long a peer may take to end its side after we ended ours


cdef class ServerConnection(GrpcSession):
    """One accepted connection. Made by the listener, driven by its transport."""
    cdef readonly object peer, ssl_object
    cdef int64_t age_limit_ns, graceful_since_ns, ping_sent_ns, finished_ns
    cdef bint graceful, final_pending, final_due
    cdef str local_address
    cdef bint trusted
    cdef peer_trust_t peer_trust
    cdef int64_t stream_limit

    def __init__(self, ServerCore core not None, bint trusted=False):
        """`trusted`: the peer is a process of ours with many callers' calls; the limits on one do not hold."""
        self.core = core
        self.limits = core.limits
        self.loop = core.loop
        self.scheduler = core.scheduler
        self.guard = FloodGuard(core.limits, trusted)
        self.trusted = trusted
        self.peer_trust.level = BY_WORKER if trusted else 0
        self.stream_limit = TRUSTED_STREAMS if trusted else core.limits.concurrent_streams
        self.open_session(True, self.stream_limit)
        if trusted:
            self.inspector = None
        jitter = 1 + core.limits.max_age_jitter * (2 * random.random() - 1)
        self.age_limit_ns = <int64_t>(core.limits.max_age_ns * jitter)

    def connection_made(self, transport):
        self.peer = format_peer(transport)
        self.ssl_object = transport.get_extra_info("ssl_object")
        if self.core.peer_token:
            self.peer_trust.peer_token = PyBytes_AS_STRING(self.core.peer_token)
            self.peer_trust.peer_token_length = PyBytes_GET_SIZE(self.core.peer_token)
        elif self.core.peer_token is not None and not self.trusted and (is_local(self.peer) or self.certified()):
            self.peer_trust.level = BY_PROXY
        self.core.connections.add(self)
        if self.ssl_object is not None and self.ssl_object.selected_alpn_protocol() != "h2":
            transport.abort()
            return
        super().connection_made(transport)
        if self.core.draining:
            self.drain()

    cdef bint certified(self):
        """Whether the peer showed a certificate of the CA that the server asks for."""
        return self.ssl_object is not None and bool(self.ssl_object.getpeercert())

    cdef void on_lost(self) noexcept:
        self.core.connections.discard(self)
        self.last_table = None  # what is left of a connection may wait for the garbage collector: see set_routes
        self.last_route = None
        if self.core.draining and not self.core.connections and self.core.on_idle is not None:
            self.core.on_idle()

    cdef H2Stream new_stream(self):
        """Admit a call, or None to refuse it: handlers that outlive a reset count as well."""
        cdef ServerStream stream
        if self.handlers_running >= self.stream_limit:
            return None
        stream = ServerStream.__new__(ServerStream)
        stream.connection = self
        stream.core = self.core
        stream.peer_trust = &self.peer_trust
        self.core.streams += 1
        return stream

    # --- graceful end -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Announce the end (largest stream id), and after a PING round trip the real last stream id."""
        if self.graceful or self.h2 == NULL:
            return
        self.now_ns = monotonic_ns()
        self.graceful = True
        self.final_pending = True
        self.graceful_since_ns = self.now_ns
        self.shutdown_notice()
        self.ping(DRAIN_PING)
        self.end_lasting()

    cdef bint is_ending(self) noexcept:
        return self.graceful

    cdef void end_lasting(self) noexcept:
        """Let streams that last as long as their callers want end now: others have the time of the drain."""
        cdef ServerStream stream
        for stream in self.open_streams():
            if not stream.answered and stream.handler_active:
                stream.handler.on_drain(stream)

    cdef void on_ping_ack(self, uint64_t payload) noexcept:
        if payload == DRAIN_PING and self.final_pending:
            self.final_pending = False
            self.final_due = True
        elif payload == KEEPALIVE_PING:
            self.ping_sent_ns = 0

    cdef void flush(self) noexcept:
        if self.final_due and not self.in_receive:
            # Not before all that was received is processed: a call behind the PING's acknowledgement counts as seen.
            self.final_due = False
            self.final_goaway()
        GrpcSession.flush(self)

    def end_calls(self, str message not None) -> int:
        """Answer UNAVAILABLE to what still runs; the number of calls ended. For the end of a drain."""
        cdef ServerStream stream
        cdef int ended = 0
        self.now_ns = monotonic_ns()
        for stream in self.open_streams():
            if not stream.answered:
                ended += 1
                stream.fail(UNAVAILABLE, "DRAINING", message)
                if stream.handler_active:
                    stream.handler.on_cancel(stream, UNAVAILABLE)
        self.schedule_flush()
        return ended

    cdef void finish(self) noexcept:
        """End our side, and discard what still arrives until the peer ends too.

        Closing a socket that has unread bytes resets it, and a reset makes the peer lose replies it has not read yet.
        """
        self.closing = True
        self.finished_ns = monotonic_ns()
        if self.transport is None or self.transport.is_closing():
            return
        if self.ssl_object is not None:
            self.transport.close()
            return
        try:
            self.transport.write_eof()
            if self.read_paused:
                self.transport.resume_reading()
        except OSError:     # the peer is gone already
            self.abort()

    def close(self) -> None:
        """Close now; calls in progress are cancelled."""
        self.abort()

    cdef list open_streams(self):
        cdef list out = []
        cdef void* at = self.first_stream
        while at != NULL:
            out.append(<object>at)
            at = (<H2Stream>at).next
        return out

    # --- time ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Enforce what depends on time. Called by the server's ticker."""
        cdef NativeLimits limits = self.limits
        cdef int64_t now = monotonic_ns()
        if self.h2 == NULL or self.transport is None:
            return
        if self.closing:
            if now - self.finished_ns > LINGER_NS:
                self.abort()
            return
        self.now_ns = now
        if self.peer_trust.token_shown and not self.trusted:
            self.trusted = self.guard.trusted = True    # another proxy: what its callers cancel is not its fault
        if not self.settings_seen and now - self.connected_ns > limits.handshake_ns:
            self.cut(HANDSHAKE, b"no SETTINGS within handshake_timeout_s")
        elif self.headers_began_ns and now - self.headers_began_ns > limits.header_ns:
            self.cut(HEADER_TIMEOUT, b"a header block took longer than header_timeout_s")
        elif self.write_paused and now - self.paused_since_ns > limits.zero_window_ns:
            limits.hits[ZERO_WINDOW] += 1
            self.abort()
        elif self.graceful:
            if self.final_pending and now - self.graceful_since_ns > 1_000_000_000:
                self.final_pending = False
                self.final_goaway()
            elif not self.core.draining and now - self.graceful_since_ns > limits.age_grace_ns:
                self.abort()
        elif now - self.connected_ns > self.age_limit_ns and not self.trusted:
            limits.hits[AGE] += 1
            self.drain()
        elif self.streams == 0 and now - self.idle_since_ns > limits.idle_ns and not self.trusted:
            limits.hits[IDLE] += 1
            self.drain()
        elif self.ping_sent_ns:
            if self.last_read_ns > self.ping_sent_ns:
                self.ping_sent_ns = 0
            elif now - self.ping_sent_ns > limits.keepalive_timeout_ns:
                limits.hits[KEEPALIVE] += 1
                self.abort()
        elif self.streams and now - self.last_read_ns > limits.keepalive_ns:
            self.ping_sent_ns = now
            self.ping(KEEPALIVE_PING)
        if self.streams and self.h2 != NULL and not self.closing:
            self.tick_streams(now)

    cdef void tick_streams(self, int64_t now) noexcept:
        """Cut calls whose reader is gone, and give back credit that was withheld for want of memory."""
        cdef ServerStream stream
        cdef NativeLimits limits = self.limits
        for stream in self.open_streams():
            if stream.deadline_ns and now > stream.deadline_ns and not stream.answered and not stream.handler_active:
                stream.deadline_passed()    # its request never ended, so no handler watches the time
            elif stream.out_bytes and now - stream.blocked_since_ns > limits.zero_window_ns and (
                    stream.answered or not stream.lasting):
                limits.hits[ZERO_WINDOW] += 1
                stream.reset(H2_CANCEL)
            elif self.reads_too_slowly(stream, now):
                stream.reset(H2_CANCEL)
            elif self.request_lags(stream, now):
                pass
            elif stream.withheld_credit and stream.queued_bytes == 0 and (
                    not self.over_share()):
                stream.consume(stream.withheld_credit)
                stream.withheld_credit = 0
            elif stream.withheld_credit and stream.queued_bytes == 0 and (
                    now - stream.opened_ns > limits.zero_window_ns):
                stream.fail(RESOURCE_EXHAUSTED, "RECEIVE_BUDGET",
                            "the proxy holds as many request bytes as receive_budget_bytes allows: try again later")

    cdef bint reads_too_slowly(self, ServerStream stream, int64_t now) noexcept:
        """Whether a peer takes its reply at a pace that would hold it, and values that are stored no longer, for too
        long. While readers hold too much in all they have 10 s."""
        cdef NativeLimits limits = self.limits
        cdef bint short = self.scheduler.waiting_bytes > limits.reply_budget_bytes
        cdef int64_t window = PRESSED_WINDOW_NS if short else limits.zero_window_ns
        cdef int64_t drain = PRESSED_DRAIN_NS if short else limits.reply_drain_ns
        if stream.out_bytes == 0 or (stream.lasting and not stream.answered and not short):
            stream.output_pace.since_ns = 0
            return False
        if not too_slow(&stream.output_pace, now, stream.sent_bytes, window,
                        1 + <int64_t>(<double>stream.out_bytes * min(window, drain) / drain)):
            return False
        limits.hits[REPLY_BUDGET if short else REPLY_DRAIN] += 1
        return True

    cdef bint request_lags(self, ServerStream stream, int64_t now) noexcept:
        """Refuse a request that is not complete in time, or comes too slowly. Waiting for credit counts for nothing."""
        cdef NativeLimits limits = self.limits
        cdef bint short = self.core.bytes_held > limits.receive_budget_bytes
        cdef int64_t window = PRESSED_WINDOW_NS if short else min(
            <int64_t>REQUEST_WINDOW_NS, limits.request_age_ns)
        cdef int64_t rate = limits.request_rate * (PRESSED_RATE if short else 1)
        if stream.answered or stream.remote_ended or stream.handler is None or stream.handler.passthrough:
            return False
        if not stream.handler.request_streaming and now - stream.opened_ns > limits.request_age_ns:
            limits.hits[REQUEST_AGE] += 1
            stream.fail(RESOURCE_EXHAUSTED, "REQUEST_TOO_SLOW", "the request was not complete after request_age_s")
            return True
        if stream.withheld_credit or not assembler_in_message(&stream.input):
            stream.input_pace.since_ns = 0
            return False
        if not too_slow(&stream.input_pace, now, stream.received_bytes, window,
                        <int64_t>(<double>rate * window / 1e9)):
            return False
        limits.hits[REQUEST_RATE] += 1
        stream.fail(RESOURCE_EXHAUSTED, "REQUEST_TOO_SLOW",
                    "the request arrives more slowly than request_min_bytes_per_s allows")
        if stream.handler_active:
            stream.handler.on_cancel(stream, RESOURCE_EXHAUSTED)
        return True

    cdef void cut(self, int limit, bytes reason) noexcept:
        self.limits.hits[limit] += 1
        self.write_goaway(H2_ENHANCE_YOUR_CALM, reason)
        self.finish()


cdef str format_peer(object transport):
    """The peer in grpcio's notation: ipv4:ADDRESS:PORT, ipv6:[ADDRESS]:PORT, unix:PATH."""
    address = transport.get_extra_info("peername")
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        if host.startswith("::ffff:") and "." in host:      # IPv4, on a socket of both families
            host = host[7:]
        return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
    return f"unix:{address or ''}"


def is_local(str peer not None) -> bool:
    """Whether a peer in grpcio's notation is on this machine."""
    return peer.startswith(("unix:", "ipv4:127.", "ipv6:%5B::1%5D", "ipv6:%5B::ffff:127."))


def begin_drain(ServerCore core not None, on_idle) -> None:
    """Start a graceful end on every connection; `on_idle` is called once the last one is gone."""
    core.draining = True
    core.on_idle = on_idle
    for connection in list(core.connections):
        connection.drain()
    if not core.connections:
        on_idle()


def statistics(ServerCore core not None) -> dict[str, int]:
    """Gauges of the server: connections, streams, handlers_running, bytes_held."""
    return {
        "connections": len(core.connections),
        "streams": core.streams,
        "handlers_running": core.handlers_running,
        "bytes_held": core.bytes_held,
    }
