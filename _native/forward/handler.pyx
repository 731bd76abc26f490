"""Passes calls on to the process that owns their namespace, and its replies back, as bytes.

State of a `ForwardCall`:

    on_start --> [waiting] --connection--> [sent] --reply head--> [answering] --trailers--> over
                  |     ^                    |  |                      |
     wait_s, deadline   +- never processed, -+  +--- reset, lost ------+--> a status of ours
                           lost read (once)

Messages are neither assembled nor inflated; nothing but the call's stream is made for it. A slow side withholds the
credit of the other: each direction holds at most one and a half stream windows. Connecting, backoff and the
words for a failure are the business of `prism_proxy.forwarding.peer`.
"""
cimport cython
from libc.stdint cimport SIZE_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from prism_proxy._native.http2.buffers cimport buffer_append, buffer_free, chunk_bytes, chunk_new, chunk_t
from prism_proxy._native.grpc.call cimport Handler, ServerStream, choose
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.forward.head cimport (
    MAX_FIELDS, field_pairs, http_status_code, next_field, reply_fields, request_fields, reset_status, trailer_pairs,
    written_t,
)
from prism_proxy._native.forward.queue cimport ForwardQueue
from prism_proxy._native.forward.request cimport ForwardRequest
from prism_proxy._native.http2.session cimport (
    H2_CANCEL, H2_INTERNAL_ERROR, H2_REFUSED_STREAM, H2Session, OutputScheduler,
)
from prism_proxy._native.http2.limits cimport HEADER_LIST, NativeLimits
from prism_proxy._native.http2.nghttp2 cimport nghttp2_nv
from prism_proxy._native.grpc.request_head cimport BY_PROXY, BY_WORKER, equals
from prism_proxy._native.grpc.core cimport RoutedMethod
from prism_proxy._native.grpc.routing cimport NativeRoute

cdef enum:
    RESOURCE_EXHAUSTED = 8
    INTERNAL = 13
    UNAVAILABLE = 14
    CREDIT_STEP = 16 * 1024     # credit is returned in steps of at least this
    MAX_ATTEMPTS = 2
    TIMER_LEEWAY_NS = 500_000   # a timer may fire this early
    KEEPALIVE_PING = 0x464F5257
    DENIED_NS = 1_000_000_000   # for how long an owner is looked for that several processes disagree about
    DENIED_WAIT_MS = 20
    KEPT_BYTES = 16 * 1024 * 1024   # of requests that may have to be sent again: shared by the calls,
    MOST_KEPT = 1024 * 1024         # within bounds
    LEAST_KEPT = 16 * 1024


cdef inline size_t kept_share(int64_t calls) noexcept:
    """How much of its request a call may keep while there are so many others."""
    return <size_t>max(LEAST_KEPT, min(MOST_KEPT, KEPT_BYTES // (calls + 1)))


# --- a call ---------------------------------------------------------------------------------------------------------

@cython.no_gc
cdef class ForwardCall(ForwardRequest):
    def __dealloc__(self):
        buffer_free(&self.head)

    cdef void on_output_drained(self) noexcept:
        """Bytes went to the owner: the caller may send as many again."""
        cdef ServerStream caller = self.caller
        cdef size_t n
        if caller is not None and caller.queued_bytes > self.out_bytes:
            n = caller.queued_bytes - self.out_bytes
            caller.account(-<int64_t>n)
            caller.credit_taken(n)

    # --- reply --------------------------------------------------------------------------------------------------

    cdef int on_header(self, const uint8_t* name, size_t name_length, const uint8_t* value,
                       size_t value_length) noexcept:
        cdef uint32_t lengths[2]
        lengths[0] = <uint32_t>name_length
        lengths[1] = <uint32_t>value_length
        if buffer_append(&self.head, lengths, 8) or buffer_append(&self.head, name, name_length) or (
                buffer_append(&self.head, value, value_length)):
            return HEADER_LIST
        return 0

    cdef void on_headers(self) noexcept:
        cdef nghttp2_nv status
        if self.caller is not None and self.caller.answered:    # by a limit here
            self.leave()
            self.reset(H2_CANCEL)
        elif self.caller is not None and self.head.length:
            if self.head_seen:
                if self.remote_ended:
                    self.end_reply()
            else:
                next_field(self.head.data, 0, &status)
                if status.value[0] != c"1":     # else an interim reply
                    self.head_seen = True
                    self.begin_reply(&status)
        self.head.length = 0

    cdef void begin_reply(self, const nghttp2_nv* status) noexcept:
        """The first block of the reply; it is the last one too when the owner answers without messages."""
        cdef nghttp2_nv nva[MAX_FIELDS]
        cdef int n, code = -1
        cdef bint not_owner = False
        cdef ServerStream caller
        if not equals(status.value, status.valuelen, "200", 3):
            self.fail(http_status_code(status), "its reply is no gRPC reply")
            return
        n = reply_fields(&self.head, nva, &code, &not_owner)
        if n < 0 or (self.remote_ended and code < 0):
            self.fail(INTERNAL, "its reply has too many fields, or no status")
            return
        if not_owner:
            if self.reroute():
                return
            if self.caller.forwarded:
                self.leave().not_owner()    # who passed it on to us looks again
                return
        if self.out_head == NULL:
            self.drop_replay()
        caller = self.caller
        if self.remote_ended:
            self.leave()
            if code:
                caller.trailers = field_pairs(nva, n)   # the reason, for who watches calls
            caller.answer(code)
        caller.head_sent = True
        if caller.session.submit_headers(caller, nva, n, self.remote_ended) != 0:
            caller.reset(H2_INTERNAL_ERROR)
        caller.session.schedule_flush()

    cdef void end_reply(self) noexcept:
        """The trailers are there."""
        cdef int code = 0
        cdef list trailers = trailer_pairs(&self.head, &code)
        self.leave().end_with(code, trailers)
        if not self.local_ended:
            self.reset(H2_CANCEL)   # the rest of the request is not wanted

    cdef void on_data(self, const uint8_t* data, size_t n, bint last) noexcept:
        cdef ServerStream caller = self.caller
        cdef chunk_t* chunk
        if caller is None or caller.answered or not self.head_seen:
            self.consume(n)
            return
        chunk = chunk_new(n)
        if chunk == NULL:
            self.fail(RESOURCE_EXHAUSTED, "no memory for its reply")
            return
        memcpy(chunk_bytes(chunk), data, n)
        caller.enqueue(chunk)
        caller.session.resume(caller)
        self.withheld_credit += n
        self.return_credit(caller)

    cdef void return_credit(self, ServerStream caller) noexcept:
        """Let the owner send on while the caller reads."""
        if self.withheld_credit >= CREDIT_STEP and caller.out_bytes <= <size_t>caller.core.limits.stream_window // 2:
            self.consume(self.withheld_credit)
            self.withheld_credit = 0

    # --- the end ------------------------------------------------------------------------------------------------

    cdef void on_end(self) noexcept:
        if self.caller is not None:
            self.fail(INTERNAL, "its reply ended without a status")

    cdef void on_close(self, uint32_t code) noexcept:
        """Reset or lost, unless the caller has its answer. Sent once more is what the owner never processed, and a read
        that was lost with it before the reply began."""
        cdef bint lost = self.connection.lost
        cdef bint executed = self.head_framed and (lost or code != H2_REFUSED_STREAM) and (
            not self.connection.unseen(self.id))
        if self.connection.handler.first_waiting != NULL:
            self.connection.handler.pump()
        if self.caller is None:
            return
        if (not executed or (lost and not self.head_seen and self.repeatable())) and (
                not self.incomplete and self.attempts < MAX_ATTEMPTS):
            self.handler.dispatch(self.retry_copy(self.handler))
        elif lost or not executed:
            self.handler.refuse(self.leave(), "await" if executed else "send", executed,
                                "the connection was lost" if lost else "the call was refused")
        else:
            self.fail(reset_status(code), f"it reset the call (HTTP/2 error {code})")

    cdef bint repeatable(self) noexcept:
        """Whether the call may run a second time."""
        return self.caller.route is not None and self.caller.method.path in self.caller.route.repeated

    cdef void fail(self, int code, str message) noexcept:
        """End the call with a status of ours, which the owner's behaviour is the reason for."""
        self.leave().fail(code, "FORWARDING_FAILED", f"the owner of the namespace, {self.handler.peer}: {message}")
        self.reset(H2_CANCEL)

    cdef ServerStream leave(self):
        """The call is over for the caller, whom this returns."""
        cdef ServerStream caller = self.caller
        if self.waiting:
            self.handler.unqueue(self)
        self.handler.forget(self)
        self.caller = None
        caller.call = None
        caller.handler_finished()
        return caller

    cdef ForwardCall retry_copy(self, ForwardHandler handler):
        """This call from its start, by `handler`. It takes over the caller and the request."""
        cdef ForwardCall fresh = ForwardCall.__new__(ForwardCall)
        fresh.take_request(self)
        fresh.attempts = self.attempts
        fresh.denied_since_ns = self.denied_since_ns
        fresh.waiting_since_ns = self.waiting_since_ns
        caller = self.leave()
        handler.take(fresh, caller)
        return fresh

    cdef bint reroute(self) noexcept:
        """The owner says that it is none: serve the call where its namespace is by now. False: nobody knows better,
        for a second: a map reaches one process before the other."""
        cdef int64_t now = monotonic_ns()
        cdef bint first = self.denied_since_ns == 0
        cdef ForwardCall fresh
        if self.incomplete:
            return False
        if first:
            self.denied_since_ns = now
        if not (first and self.follow(False)):
            if self.caller.forwarded or now - self.denied_since_ns > DENIED_NS:
                return False
            fresh = self.retry_copy(self.handler)
            self.handler.loop.call_later(DENIED_WAIT_MS / 1e3, fresh.recheck)
        if not self.local_ended:
            self.reset(H2_CANCEL)
        return True

    def recheck(self):
        if self.caller is not None:
            self.follow(True)

    cdef bint follow(self, bint again) noexcept:
        """Reroute the call by the current table; False: that has not changed, and `again` does not matter."""
        cdef ServerStream caller = self.caller
        cdef NativeRoute route = caller.core.lookup(caller)
        cdef Handler handler
        cdef RoutedMethod routed
        cdef ForwardCall fresh
        if route is None or (route is caller.route and not again):
            if again and caller.forwarded == BY_WORKER:
                self.leave().not_owner()
            elif again:
                self.leave().fail(5, "NAMESPACE_NOT_FOUND", "there is no such namespace")
            return False
        routed = caller.core.routed(route, caller.method)
        handler = choose(route, caller.method, routed)
        if handler is None:
            return False
        caller.route = route
        caller.binding = routed.binding
        caller.handler = handler
        if isinstance(handler, ForwardHandler):
            fresh = self.retry_copy(<ForwardHandler>handler)
            fresh.handler.dispatch(fresh)
        else:
            self.serve_here()
        return True

    cdef void serve_here(self) noexcept:
        """Give the request, as far as it is there, to the caller's new handler."""
        cdef ServerStream caller = self.leave()
        cdef chunk_t* chunk = self.replay_buffer
        caller.account(-<int64_t>caller.queued_bytes)
        caller.queued_bytes = 0
        caller.handler.on_start(caller)
        while chunk != NULL:
            caller.feed(chunk.data, chunk.length)
            chunk = chunk.next
        if self.out_ended:
            caller.on_end()


# --- a connection ---------------------------------------------------------------------------------------------------

cdef class ForwardConnection(H2Session):
    def __init__(self, ForwardHandler handler not None, NativeLimits limits not None, opened):
        """`opened` is a future: done once calls are taken, failed when the connection is lost before."""
        self.handler = handler
        self.opened = opened
        self.limits = limits
        self.loop = handler.loop
        self.scheduler = handler.scheduler
        self.last_seen = -1
        self.open_session(False, 0)

    def connection_lost(self, exc):
        self.lost = True
        self.handler.retire(self)
        H2Session.connection_lost(self, exc)
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the connection was closed before it could be used"))

    @property
    def gone(self) -> bool:
        """Whether the connection is lost."""
        return self.lost

    def close(self) -> None:
        """Close now; calls in progress end UNAVAILABLE."""
        self.abort()

    def tick(self) -> None:
        """Ping an owner that has calls and is silent, and give it up when it does not answer; end what is used up."""
        cdef int64_t now = monotonic_ns()
        self.now_ns = now
        if self.h2 == NULL or self.closing or self.last_read_ns > self.ping_sent_ns:
            self.ping_sent_ns = 0
        if self.retired and self.streams == 0:
            self.abort()
        elif self.ping_sent_ns:
            if now - self.ping_sent_ns > self.limits.keepalive_timeout_ns:
                self.abort()
        elif self.streams and now - self.last_read_ns > self.limits.keepalive_ns:
            self.ping_sent_ns = now
            self.ping(KEEPALIVE_PING)

    cdef bint submit(self, ForwardCall call) noexcept:
        """Send the head of a call; its queue follows. False: this connection takes no more calls."""
        cdef nghttp2_nv nva[MAX_FIELDS]
        cdef written_t written
        cdef int n = request_fields(call.caller, nva, &written, self.handler.peer_token)
        if n < 0:
            call.leave().fail(RESOURCE_EXHAUSTED, "HEADERS_TOO_LARGE", "the request has too many fields to forward")
            return True
        call.connection = self
        if self.submit_request(call, nva, n) < 0:
            return False
        call.attempts += 1
        self.schedule_flush()
        return True

    cdef bint unseen(self, int32_t stream_id) noexcept:
        """Whether the owner said (GOAWAY) that it will not look at the stream."""
        return self.last_seen >= 0 and stream_id > self.last_seen

    cdef void on_settings(self) noexcept:
        self.stream_limit = self.remote_stream_limit()
        if not self.ready and not self.closing:
            self.ready = True
            self.handler.down = False
            if not self.opened.done():
                self.opened.set_result(None)
            self.handler.connections.append(self)
        self.handler.pump()

    cdef void on_goaway(self, int32_t last_stream_id, uint32_t code) noexcept:
        self.last_seen = last_stream_id
        self.handler.retire(self)


# --- the handler ----------------------------------------------------------------------------------------------------

cdef class ForwardHandler(ForwardQueue):
    """Forwards every call of the namespaces of one peer. Made by `prism_proxy.forwarding.peer.Peer`.

    `want()` is called when a connection is missing; `failure(phase, executed, message)` makes the error of a call that
    could not be forwarded. `peer_token` proves to the peer who we are; `worker` peers are of this proxy, and take calls
    that other proxies forwarded to it.
    """

    def __init__(self, loop, str peer not None, int64_t wait_ns, int64_t most_waiting, int64_t most_waiting_bytes,
                 want, failure, bytes peer_token not None, bint worker):
        self.loop = loop
        self.peer_token = peer_token
        self.level = BY_WORKER if worker else BY_PROXY
        self.peer = peer
        self.wait_ns = wait_ns
        self.most_waiting = most_waiting
        self.most_waiting_bytes = most_waiting_bytes
        self.want, self.failure = want, failure
        self.scheduler = OutputScheduler(loop)
        self.connections = []
        self.passthrough = self.request_streaming = True

    def close(self) -> None:
        """Take no more calls, and end those that wait."""
        self.closed = True
        while self.first_waiting != NULL:
            call = <ForwardCall>self.first_waiting
            self.refuse((<ForwardCall>call).leave(), "connect", False, "this process is shutting down")
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    @property
    def connection_count(self) -> int:
        """Connections that take calls."""
        return len(self.connections)

    # --- upcalls of the caller's stream -------------------------------------------------------------------------

    cdef void on_start(self, ServerStream stream) noexcept:
        cdef ForwardCall call
        if stream.forwarded >= self.level and not self.holding:
            stream.not_owner()
            return
        call = ForwardCall.__new__(ForwardCall)
        self.take(call, stream)
        self.dispatch(call)

    cdef void on_bytes(self, ServerStream stream, const uint8_t* data, size_t n, bint last) noexcept:
        cdef ForwardCall call = stream.call
        if call is None:
            stream.consume(n)
            return
        if not call.fits(data, n, <size_t>stream.core.limits.max_message_bytes):
            call.leave()
            call.reset(H2_CANCEL)
            stream.message_too_large(
                f"Received message larger than max ({call.message_left} vs. {stream.core.limits.max_message_bytes})")
            return
        if (call.waiting and self.waiting_bytes + <int64_t>n > self.most_waiting_bytes) or not call.append(data, n):
            self.refuse(call.leave(), "queue", False, "too many bytes wait for a connection")
            call.reset(H2_CANCEL)
            return
        if call.waiting:
            self.waiting_bytes += n
        stream.queued_bytes += n
        stream.account(n)
        if last:
            return      # the upcall for its end follows
        stream.credit_received(n)
        if call.session is not None:
            call.session.resume(call)

    cdef void on_end(self, ServerStream stream) noexcept:
        cdef ForwardCall call = stream.call
        if call is not None:
            call.out_ended = True
            if call.session is not None:
                call.session.resume(call)

    cdef void on_cancel(self, ServerStream stream, int code) noexcept:
        cdef ForwardCall call = stream.call
        if call is not None:
            call.leave()
            call.reset(H2_CANCEL)

    cdef void on_drain(self, ServerStream stream) noexcept:
        """Where the owner's end of a subscription can go on only its owner knows: its caller goes on behind what it
        settled last."""
        cdef ForwardCall call = stream.call
        if call is None or not stream.method.lasting:
            return
        call.leave()
        call.reset(H2_CANCEL)
        self.refuse(stream, "drain", True, "this proxy closes the connection: open another one")

    cdef void on_output_drained(self, ServerStream stream) noexcept:
        cdef ForwardCall call = stream.call
        if call is not None:
            call.return_credit(stream)

    # --- calls --------------------------------------------------------------------------------------------------

    cdef void take(self, ForwardCall call, ServerStream caller) noexcept:
        """From now on the call is one of ours, and the caller's."""
        call.handler = self
        call.replay_most = SIZE_MAX if self.holding else kept_share(self.calls)
        call.caller = caller
        caller.call = call
        caller.handler_started()
        self.enlist(call)
        if caller.deadline_ns:
            self.watch(caller.deadline_ns)

    cdef void dispatch(self, ForwardCall call) noexcept:
        """Send a call, or let it wait for a connection."""
        cdef ForwardConnection connection = self.pick()
        while connection is not None:
            if connection.submit(call):
                return
            self.retire(connection)
            connection = self.pick()
        if self.closed:
            self.refuse(call.leave(), "connect", False, "this process is shutting down")
        elif self.down:
            self.refuse(call.leave(), "connect", False, "it has been away for a while, and is looked for")
        elif self.waiting >= self.most_waiting or (
                self.waiting_bytes + <int64_t>call.out_bytes > self.most_waiting_bytes):
            self.refuse(call.leave(), "queue", False, "too many calls wait for a connection")
        else:
            self.wait(call)

    cdef ForwardConnection pick(self):
        """A connection with room for a call, or None."""
        cdef ForwardConnection connection
        for connection in self.connections:
            if connection.streams < connection.stream_limit and not connection.closing:
                return connection
        return None

    cdef void retire(self, ForwardConnection connection) noexcept:
        """The connection takes no more calls; those on it go on if it lives."""
        connection.retired = True
        if connection in self.connections:
            self.connections.remove(connection)
        if not self.closed:
            self.ask()

    cdef void ask(self) noexcept:
        try:
            self.want()
        except Exception as error:
            self.loop.call_exception_handler({"message": "a connection could not be asked for", "exception": error})

    # --- waiting ------------------------------------------------------------------------------------------------

    cdef void wait(self, ForwardCall call) noexcept:
        if call.waiting_since_ns == 0:
            call.waiting_since_ns = monotonic_ns()
        self.queue(call)
        self.watch(call.waiting_since_ns + self.wait_ns)
        self.ask()

    cdef void pump(self) noexcept:
        """Send what waits, in order, as far as there is room."""
        cdef ForwardCall call
        while self.first_waiting != NULL:
            if self.pick() is None:
                self.ask()
                return
            call = <ForwardCall>self.first_waiting
            self.unqueue(call)
            self.dispatch(call)

    def release(self) -> None:
        """Reroute the waiting calls by the current table, in order."""
        cdef ForwardCall call
        cdef int64_t left = self.waiting
        while self.first_waiting != NULL and left > 0:
            call = <ForwardCall>self.first_waiting
            left -= 1
            if not call.follow(True) and call.caller is not None:
                self.refuse(call.leave(), "queue", False, "nobody serves its method")

    # --- time ---------------------------------------------------------------------------------------------------

    cdef void watch(self, int64_t at_ns) noexcept:
        """Look at the calls' time limits at `at_ns`: one timer, at the earliest of them."""
        cdef double delay
        if self.timer is not None:
            if at_ns >= self.timer_ns:
                return
            self.timer.cancel()
        self.timer_ns = at_ns
        delay = (at_ns - monotonic_ns()) / 1e9
        self.timer = self.loop.call_later(delay if delay > 0 else 0, self.expire)

    def expire(self):
        """End calls whose deadline has passed, and those that waited too long."""
        cdef int64_t limit, earliest = 0, now = monotonic_ns() + TIMER_LEEWAY_NS
        cdef ForwardCall call
        cdef void* at = self.newest
        cdef list due = []
        self.timer = None
        while at != NULL:
            call = <ForwardCall>at
            at = call.older
            limit = call.caller.deadline_ns
            if call.waiting and (limit == 0 or call.waiting_since_ns + self.wait_ns < limit):
                limit = call.waiting_since_ns + self.wait_ns
            if limit and limit <= now:
                due.append(call)
            elif limit and (earliest == 0 or limit < earliest):
                earliest = limit
        for call in due:
            if call.caller is None:
                continue
            if call.caller.deadline_ns and call.caller.deadline_ns <= now:
                call.caller.deadline_passed()
            else:
                self.refuse(call.leave(), "queue" if self.connections else "connect", False,
                            "it has as many calls as it takes" if self.connections else "there is no connection to it")
        if earliest:
            self.watch(earliest)

    # --- failures -----------------------------------------------------------------------------------------------

    cdef void refuse(self, ServerStream caller, str phase, bint executed, str message) noexcept:
        """End a call that got no answer."""
        try:
            caller.fail_with(self.failure(phase, executed, message))
        except Exception as error:
            self.loop.call_exception_handler({"message": "a failure could not be told", "exception": error})
            caller.fail(UNAVAILABLE, "FORWARDING_FAILED", message)
