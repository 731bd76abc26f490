"""gRPC over the frame layer: request head, messages, deadline, reply and status of each call.

State of a `ServerStream`:

    head arrives --start()--> [collecting] --END_STREAM--> [answering] --finish()--> answered --close--> recorded
         |                        |                             |
         +--- refused ------------+--- limit / deadline --------+--> finish() with a status; later input is dropped
                                                   reset, lost connection --> on_cancel

Handlers see `on_start`, `on_message` (inflated, in order), `on_end`, and `on_cancel` when the caller is gone. For a
method with a unary request `on_message` is called once, after the request has ended. `on_drain` tells that the
connection is to end: what lasts as long as its caller wants must end now. Nothing in this file knows
namespaces' configuration or servicers; a Python object per call is made only by handlers that want one.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset

from prism_proxy._native.http2.buffers cimport (
    buffer_free, buffer_t, chunk_bytes, chunk_free, chunk_new, chunk_t,
)
from prism_proxy._native.grpc.core cimport GrpcSession, Method, RoutedMethod
from prism_proxy._native.http2.session cimport H2_INTERNAL_ERROR
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.grpc.quota cimport NamespaceQuota
from prism_proxy._native.grpc.quota_request cimport QuotaRequest
from prism_proxy._native.http2.limits cimport MESSAGE_SIZE, RECEIVE_BUDGET, REPLY_SIZE, NativeLimits
from prism_proxy._native.grpc.messages cimport (
    ASSEMBLE_MESSAGE, ASSEMBLE_NO_MEMORY, ASSEMBLE_TOO_LARGE, assemble, assembler_in_message, message_length_of,
)
from prism_proxy._native.http2.name_values cimport MAX_NV, add_pairs, fixed
from prism_proxy._native.http2.nghttp2 cimport NGHTTP2_NV_FLAG_NO_COPY_NAME, nghttp2_nv
from prism_proxy._native.grpc.plain_http cimport answer_plainly
from prism_proxy._native.grpc.request_head cimport BY_WORKER, equals, is_grpc
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, not_found
from prism_proxy._native.grpc.wire cimport INFLATE_OK, INFLATE_TOO_LARGE, inflate_message, parse_timeout

from prism_proxy._native.grpc.wire import MessageTooLarge, inflate_bytes, percent_encode

cdef enum:
    OK = 0
    CANCELLED = 1
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DEADLINE_LEEWAY_NS = 100_000_000


cdef class Handler:
    cdef Handler loaded(self):
        return self

    cdef Binding bind(self, NativeRoute route, Method method):
        """What a native handler will need to serve the calls of a method on a route; None: it does not serve them.
        Asked once for each method of a route."""
        return None

    cdef void on_start(self, ServerStream stream) noexcept: pass
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept: pass
    cdef void on_bytes(self, ServerStream stream, const uint8_t* data, size_t n, bint last) noexcept: pass
    cdef void on_end(self, ServerStream stream) noexcept: pass
    cdef void on_cancel(self, ServerStream stream, int code) noexcept: pass
    cdef void on_output_drained(self, ServerStream stream) noexcept: pass
    cdef void on_drain(self, ServerStream stream) noexcept: pass

    cdef void fall_back(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        """Let the servicer serve this call from the start; `data` is its one request message."""
        cdef Handler servicer = <Handler>stream.method.servicer
        if servicer is None:
            stream.fail(UNIMPLEMENTED, "METHOD_NOT_FOUND", "this method has no servicer")
            return
        stream.handler = servicer
        servicer.on_start(stream)
        servicer.on_message(stream, data, n)


cdef Handler choose(NativeRoute route, Method method, RoutedMethod routed):
    """Who serves a method on a route: the namespace's owner, a native handler, the servicer, or None: nobody."""
    cdef Handler native
    if method.transient:
        return <Handler>(route.forward if route is not None and route.forward is not None else method.servicer)
    if routed.handler is None and route is not None and route.forward is not None:
        routed.handler = <Handler?>route.forward
    if routed.handler is None:
        for native in method.natives if route is not None else ():
            native = native.loaded()
            routed.binding = native.bind(route, method)
            if routed.binding is not None:
                routed.handler = native
                return native
        routed.handler = method.servicer
    return <Handler>routed.handler


@cython.no_gc
cdef class ServerStream(QuotaRequest):
    def __dealloc__(self):
        buffer_free(&self.input.message)
        if self.reply_chunk != NULL:
            chunk_free(self.reply_chunk)

    cdef void on_headers(self) noexcept:
        try:
            self.start()
        except BaseException as error:
            self.core.loop.call_exception_handler({"message": "a call could not be started", "exception": error})
            self.finish(INTERNAL, "the call could not be started", None, None)

    cdef void start(self) noexcept:
        """The gates, in order: HTTP form, method, size of the head, namespace, encoding, deadline, limits."""
        cdef GrpcSession connection = self.connection
        cdef Method method = connection.last_method
        cdef RoutedMethod routed
        cdef const uint8_t* head = self.head.data
        cdef int64_t timeout
        if not equals(head + self.verb.offset, self.verb.length, "POST", 4):
            self.refuse_http("405")
            return
        if not is_grpc(head + self.content_type.offset, self.content_type.length):
            self.refuse_http("415")
            return
        if self.overflow:
            self.fail(RESOURCE_EXHAUSTED, "HEADERS_TOO_LARGE",
                      "the request metadata is larger than the limits header_list_bytes or header_fields allow")
            return
        if method is None or not equals(head + self.path.offset, self.path.length,
                                        PyBytes_AS_STRING(method.path), PyBytes_GET_SIZE(method.path)):
            method = self.core.find(self)
            if method is None:
                self.fail(UNIMPLEMENTED, "METHOD_NOT_FOUND", "unknown method " + self.header_text(self.path))
                return
            if not method.transient:
                connection.last_method = method
        self.method = method
        if method.namespaced:
            self.route = self.core.route(connection, self)
        routed = self.core.routed(self.route, method)
        self.stats = routed.stats
        self.stats.running += 1
        if method.namespaced and self.route is None:
            if self.forwarded == BY_WORKER:
                self.not_owner()
                return
            sent = (<char*>head + self.namespace.offset)[:self.namespace.length]
            self.fail(5, "NAMESPACE_NOT_FOUND", not_found(self.core.routes, sent))
            return
        if self.encoding.length and not self.encoding_known():
            self.initial_metadata = [(b"grpc-accept-encoding", b"identity,gzip,deflate")]
            self.fail(UNIMPLEMENTED, "ENCODING_UNSUPPORTED",
                      f"grpc-encoding {self.header_text(self.encoding)!r} is not supported: "
                      "use identity, gzip or deflate")
            return
        self.handler = choose(self.route, method, routed)
        self.binding = routed.binding
        if self.handler is None:
            self.fail(UNIMPLEMENTED, "METHOD_NOT_FOUND", "unknown method " + self.header_text(self.path))
            return
        if self.timeout.length:
            timeout = parse_timeout(head + self.timeout.offset, self.timeout.length)
            if timeout < 0:
                self.fail(INTERNAL, "BAD_TIMEOUT", f"malformed grpc-timeout {self.header_text(self.timeout)!r}")
                return
            self.deadline_ns = self.opened_ns + timeout
            if timeout == 0:
                self.finish(DEADLINE_EXCEEDED, "Deadline Exceeded", None, None)
                return
        if (self.route is None or self.route.quota is None or self.forwarded == BY_WORKER
                or self.enter_quota(self.route.quota)):
            self.handler.on_start(self)

    cdef void refuse(self, NamespaceQuota quota, int kind) noexcept:
        """Answer a call that is over a limit of its namespace."""
        if self.session is None or self.answered:
            return
        self.end_with(RESOURCE_EXHAUSTED, quota.refusal(kind, self.session.now_ns, self.core.describe_error))
        if self.handler_active:
            self.handler.on_cancel(self, RESOURCE_EXHAUSTED)

    cdef bint count_bytes(self, size_t more) noexcept:
        """Count `more` bytes beside those that no handler has taken yet; False: too many, and the call is refused."""
        cdef Handler servicer = <Handler>self.method.servicer
        cdef bint streaming = servicer is None or servicer.request_streaming
        cdef size_t held = self.queued_bytes + more
        if self.inflating or (self.handler.passthrough and not streaming):
            held = self.quota_bytes + more
        elif self.message_complete or assembler_in_message(&self.input):
            held += self.input.message.length
        return self.count_in_quota(held, self.input.message_length, streaming)

    # --- request messages ---------------------------------------------------------------------------------------
    cdef void on_data(self, const uint8_t* data, size_t n, bint last) noexcept:
        cdef size_t length
        if self.answered or self.handler is None:
            self.consume(n)
            return
        if self.handler.passthrough:
            if self.quota is not None and not self.count_bytes(n):
                self.consume(n)
                return
            self.handler.on_bytes(self, data, n, last)
            return
        if last and n >= 5 and data[0] == 0 and self.input.prefix_length == 0:
            length = message_length_of(data)
            if length == n - 5 and length <= <size_t>self.core.limits.max_message_bytes and self.pending is None:
                # The whole message in one piece and the last: no copy, it is used before these bytes go away.
                self.borrowed = data + 5
                self.borrowed_length = length
                self.session.borrowing_stream = self
                return
        self.feed(data, n)

    cdef void on_input_expiring(self) noexcept:
        """The bytes a borrowed message stands in are about to go: keep a copy."""
        cdef const uint8_t* data = self.borrowed
        if data != NULL:
            self.borrowed = NULL
            self.feed(data - 5, self.borrowed_length + 5)

    cdef void feed(self, const uint8_t* data, size_t n) noexcept:
        """Cut messages out of the byte stream."""
        cdef int64_t held
        cdef int rc
        cdef NativeLimits limits = self.core.limits
        self.credit_received(n)
        if self.quota is not None and not self.count_bytes(n):
            return
        while n and not self.answered:
            if self.message_complete:
                self.fail(UNIMPLEMENTED, "TOO_MANY_MESSAGES", "this method takes exactly one request message")
                return
            held = self.input.message.capacity
            rc = assemble(&self.input, &data, &n, <size_t>limits.max_message_bytes)
            self.account(self.input.message.capacity - held)
            if rc == ASSEMBLE_MESSAGE:
                if self.handler.request_streaming:
                    self.deliver(self.input.message.data, self.input.message.length, self.input.prefix[0])
                else:
                    self.message_complete = True
            elif rc == ASSEMBLE_TOO_LARGE:
                self.message_too_large(
                    f"Received message larger than max ({self.input.message_length} vs. {limits.max_message_bytes})")
            elif rc == ASSEMBLE_NO_MEMORY:
                self.fail(RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "no memory for the request message")
        if self.quota is not None:
            self.count_bytes(0)

    cdef void message_too_large(self, str what) noexcept:
        self.core.limits.hits[MESSAGE_SIZE] += 1
        self.fail(RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
                  what + ": raise the limit max_message_bytes, or send large payloads by claim check")

    cdef void reply_too_large(self, size_t n) noexcept:
        self.core.limits.hits[REPLY_SIZE] += 1
        self.fail(RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
                  f"Sent message larger than max ({n} vs. {self.core.limits.max_reply_bytes}): raise the limit "
                  "max_reply_bytes, or read large payloads by claim check")

    cdef void on_end(self) noexcept:
        cdef const uint8_t* data = self.borrowed
        cdef bint streaming
        if self.http_refusal != NULL:
            self.refuse_http(self.http_refusal)
            return
        if self.answered or self.handler is None:
            return
        if self.handler.passthrough:
            self.handler.on_end(self)
            return
        streaming = self.handler.request_streaming
        if data != NULL:
            self.borrowed = NULL
            self.session.borrowing_stream = None
            self.deliver_plain(data, self.borrowed_length)
        elif self.message_complete:
            self.deliver(self.input.message.data, self.input.message.length, self.input.prefix[0])
        elif assembler_in_message(&self.input):
            self.fail(INTERNAL, "TRUNCATED_MESSAGE", "the request ended in the middle of a message")
            return
        elif not streaming:
            self.fail(UNIMPLEMENTED, "NO_MESSAGE", "this method takes exactly one request message")
            return
        if self.inflating:
            self.end_pending = True
        elif not self.answered or streaming:
            self.handler.on_end(self)

    cdef void deliver(self, const uint8_t* data, size_t n, bint compressed) noexcept:
        """Hand one message to the handler, inflated; large ones inflate off the loop, and those behind them wait."""
        cdef buffer_t out
        cdef int rc
        cdef size_t cap = <size_t>min(self.core.limits.inflate_offload_bytes, self.core.limits.max_message_bytes)
        if self.inflating:
            self.pending.append(((<char*>data)[:n], compressed))
            return
        self.compressed = compressed
        if not compressed:
            self.deliver_plain(data, n)
            return
        if self.encoding.length == 0 or equals(
                self.head.data + self.encoding.offset, self.encoding.length, "identity", 8):
            self.fail(INTERNAL, "COMPRESSED_WITHOUT_ENCODING",
                      "the message has the compressed flag, but grpc-encoding names no compression")
            return
        if n > cap:
            self.inflate_later((<char*>data)[:n])
            return
        memset(&out, 0, sizeof(out))
        rc = inflate_message(data, n, cap, &out)
        if rc == INFLATE_OK:
            self.deliver_plain(out.data, out.length)
        elif rc == INFLATE_TOO_LARGE:
            self.inflate_later((<char*>data)[:n])
        else:
            self.fail(INTERNAL, "CORRUPT_MESSAGE", "the compressed message is corrupt")
        buffer_free(&out)

    cdef void deliver_plain(self, const uint8_t* data, size_t n) noexcept:
        if self.quota is not None and not self.count_in_quota(self.queued_bytes + n, n, self.handler.request_streaming):
            return
        self.handler.on_message(self, data, n)
        if self.quota is not None and self.handler.request_streaming:
            self.count_bytes(0)

    cdef void inflate_later(self, bytes data):
        self.inflating = True
        if self.pending is None:
            self.pending = []
        future = self.core.loop.run_in_executor(
            self.core.executor, inflate_bytes, data, self.core.limits.max_message_bytes)
        future.add_done_callback(self.inflated)

    def inflated(self, future):
        """A message inflated off the loop is there: deliver it, then what waited behind it."""
        cdef bytes data
        self.inflating = False
        error = future.exception()
        if self.answered or self.session is None:
            return
        if error is not None:
            if isinstance(error, MessageTooLarge):
                self.message_too_large(str(error))
            else:
                self.fail(INTERNAL, "CORRUPT_MESSAGE", str(error))
            return
        data = future.result()
        self.deliver_plain(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        while self.pending and not self.inflating and not self.answered:
            data, compressed = self.pending.pop(0)
            self.deliver(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), compressed)
        if self.end_pending and not self.inflating and not self.answered:
            self.end_pending = False
            self.handler.on_end(self)

    cdef void account(self, int64_t change) noexcept:
        """Account for memory that keeps request bytes."""
        if self.session is not None:
            self.accounted += change
            self.connection.account(change)

    cdef void credit_received(self, size_t n) noexcept:
        """Return stream credit, unless the handler is behind or too much is held already."""
        self.received_bytes += n
        if self.queued_bytes > <size_t>self.core.limits.stream_window // 2:
            self.withheld_credit += n
        elif self.connection.over_share():
            self.core.limits.hits[RECEIVE_BUDGET] += 1
            self.withheld_credit += n
        else:
            self.consume(n)

    cdef void credit_taken(self, size_t n) noexcept:
        """The handler took `n` queued bytes."""
        self.queued_bytes -= n
        if self.quota is not None:
            self.count_bytes(0)
        if self.withheld_credit and self.queued_bytes <= <size_t>self.core.limits.stream_window // 2:
            self.consume(self.withheld_credit)
            self.withheld_credit = 0

    # --- reply --------------------------------------------------------------------------------------------------
    cdef void handler_started(self) noexcept:
        """A handler that answers later: it counts as running until `handler_finished`, also after a reset."""
        self.handler_active = True
        self.core.handlers_running += 1
        self.connection.handlers_running += 1

    cdef void handler_finished(self) noexcept:
        if self.handler_active:
            self.handler_active = False
            self.core.handlers_running -= 1
            self.connection.handlers_running -= 1
            self.leave_quota(self.session is None)

    cdef void refuse_http(self, const char* status) noexcept:
        """Answer something that is no gRPC call, once it has ended: nothing of it is used before."""
        if not self.remote_ended:
            self.http_refusal = status
            return
        self.http_refusal = NULL
        self.answered = self.plain_http = True
        if not answer_plainly(self, status):
            self.reset(H2_INTERNAL_ERROR)

    cdef void send_head(self, bint end_stream) noexcept:
        """The response head; with `end_stream` it carries the status too (trailers-only)."""
        cdef nghttp2_nv nva[MAX_NV]
        cdef int n = 2
        if self.head_sent or self.session is None:
            return
        self.head_sent = True
        nva[0] = fixed(":status", 7, "200", 3)
        nva[1] = fixed("content-type", 12, "application/grpc", 16)
        if self.request_id.length and self.core.echoes_ids:
            nva[2] = fixed("x-request-id", 12, <char*>self.head.data + self.request_id.offset, self.request_id.length)
            nva[2].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
            n = 3
        if self.route is not None and self.route.owner is not None:
            nva[n] = fixed("x-prism-owner", 13, PyBytes_AS_STRING(self.route.owner), PyBytes_GET_SIZE(self.route.owner))
            nva[n].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
            n += 1
        n = add_pairs(nva, n, self.initial_metadata)
        if end_stream:
            n = add_pairs(nva, n, self.trailers)
        if self.session.submit_headers(self, nva, n, end_stream) != 0:
            self.reset(H2_INTERNAL_ERROR)

    cdef bint on_trailers_wanted(self) noexcept:
        cdef nghttp2_nv nva[MAX_NV]
        cdef int n = 1
        if self.plain_http:
            return False
        if self.trailers is None:
            nva[0] = fixed("grpc-status", 11, "0", 1)
        else:
            n = add_pairs(nva, 0, self.trailers)
        self.session.submit_trailers(self, nva, n)
        return True

    cdef uint8_t* reply_begin(self, size_t n) noexcept:
        """Room for a reply message of `n` bytes, or NULL without memory (the call is then failed)."""
        return self.reply_begin_split(n, n)

    cdef uint8_t* reply_begin_split(self, size_t inline_bytes, size_t total) noexcept:
        """As `reply_begin`, for a message whose last `total - inline_bytes` bytes follow by `enqueue`."""
        cdef uint8_t* out
        if total > <size_t>self.core.limits.max_reply_bytes:
            self.reply_too_large(total)
            return NULL
        self.reply_chunk = chunk_new(5 + inline_bytes)
        if self.reply_chunk == NULL:
            self.fail(RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "no memory for the reply")
            return NULL
        out = chunk_bytes(self.reply_chunk)
        out[0] = 0
        out[1] = <uint8_t>(total >> 24)
        out[2] = <uint8_t>(total >> 16)
        out[3] = <uint8_t>(total >> 8)
        out[4] = <uint8_t>total
        return out + 5

    cdef void reply_end(self) noexcept:
        """Send the one reply message of a unary call with status OK."""
        self.reply_end_with(NULL)

    cdef void reply_end_with(self, chunk_t* rest) noexcept:
        """As `reply_end`; `rest` holds the bytes that `reply_begin_split` announced."""
        if self.queue_reply(rest):
            self.finish(OK, None, None, None)

    cdef void message_end(self, chunk_t* rest) noexcept:
        """Send the message that `reply_begin` or `reply_begin_split` began. The call goes on."""
        if self.queue_reply(rest):
            self.send_head(False)
            self.session.resume(self)

    cdef bint queue_reply(self, chunk_t* rest) noexcept:
        """Queue what `reply_begin` began, and `rest`; False when the call is over, and they are dropped."""
        cdef chunk_t* chunk = self.reply_chunk
        self.reply_chunk = NULL
        if self.session is None or self.answered:
            chunk_free(chunk)
            if rest != NULL:
                chunk_free(rest)
            return False
        self.enqueue(chunk)
        if rest != NULL:
            self.enqueue(rest)
        return True

    cdef void finish(self, int code, object message, bytes details, list trailing) noexcept:
        """End the call with a status. Only the first status counts."""
        cdef list trailers = None
        if self.answered or self.session is None:
            return
        if code != OK or trailing is not None or message:
            trailers = [(b"grpc-status", str(code).encode())]
            if message:
                trailers.append((b"grpc-message", percent_encode(message)))
            trailers.extend(trailing or ())
            if details is not None:
                trailers.append((b"grpc-status-details-bin", details))
        self.end_with(code, trailers)

    cdef void end_with(self, int code, list trailers) noexcept:
        """As `finish`, with the trailers as they go out; None stands for status 0 alone."""
        self.trailers = trailers    # before the watch looks at them
        self.answer(code)
        if not self.head_sent and self.out_bytes == 0:
            if self.trailers is None:
                self.trailers = [(b"grpc-status", b"0")]
            self.send_head(True)
            self.session.schedule_flush()
        else:
            self.send_head(False)
            self.session.resume(self)

    cdef void answer(self, int code) noexcept:
        """The call has its status, which the caller of this sends."""
        self.answered = self.out_ended = True
        self.status = code
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
            self.deadline_timer = None
        self.record(code)

    cdef void not_owner(self) noexcept:
        """Refuse a call that was forwarded here: its sender looks for the owner again."""
        self.initial_metadata = [(b"x-prism-not-owner", b"1")]
        self.fail(UNAVAILABLE, "NOT_OWNER", "this process does not own the namespace")

    cdef void fail(self, int code, str reason, str message) noexcept:
        self.fail_with((code, reason, message))

    cdef void fail_with(self, object error) noexcept:
        """End the call with an error: a PrismError, or (code, reason, message). One place encodes both."""
        try:
            request_id = self.header_text(self.request_id) if self.request_id.length else None
            code, message, trailing = self.core.describe_error(error, request_id)
            if self.request_id.length == 0:
                self.finish(code, message, None, trailing)
            else:
                self.finish(code, message, None, [pair for pair in trailing if pair[0] != b"x-request-id"])
        except Exception as failure:
            self.core.loop.call_exception_handler({"message": "an error could not be encoded", "exception": failure})
            self.finish(INTERNAL, "internal error", None, None)

    cdef void deadline_passed(self) noexcept:
        if not self.answered and self.session is not None:
            self.finish(DEADLINE_EXCEEDED, "Deadline Exceeded", None, None)
            if self.handler_active:
                self.handler.on_cancel(self, DEADLINE_EXCEEDED)

    cdef void on_output_drained(self) noexcept:
        if self.handler_active:
            self.handler.on_output_drained(self)

    cdef bint reset_counts(self, int64_t now_ns) noexcept:
        """Honest cancellations (old, answered, or past a deadline of at least 10 ms) cost the peer nothing.

        The caller's clock started earlier than ours, by however long the request took to get here: hence the leeway.
        """
        cdef int64_t timeout = self.deadline_ns - self.opened_ns
        cdef int64_t leeway = timeout // 2 if timeout // 2 < DEADLINE_LEEWAY_NS else DEADLINE_LEEWAY_NS
        return not (self.answered or now_ns - self.opened_ns >= self.core.limits.reset_young_ns or (
            self.deadline_ns and timeout >= 10_000_000 and now_ns >= self.deadline_ns - leeway))

    cdef void record(self, int code) noexcept:
        cdef int64_t now = monotonic_ns()
        if self.stats is not None and not self.recorded:
            self.recorded = True
            self.stats.record(code, now - self.opened_ns)
            if self.core.watch is not None:
                self.core.watch.ended(self, self.stats, self.call, self.trailers, code, now - self.opened_ns, now)

    cdef void on_close(self, uint32_t code) noexcept:
        self.core.streams -= 1
        self.borrowed = NULL
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
            self.deadline_timer = None
        if not self.answered:
            self.record(CANCELLED)
        if self.handler_active:
            self.handler.on_cancel(self, CANCELLED)
        else:
            self.call = None    # breaks the cycle of a call whose handler never started
        self.leave_quota(not self.handler_active)
        self.account(-self.accounted)   # what a cancelled handler gave back just now is no longer in it
