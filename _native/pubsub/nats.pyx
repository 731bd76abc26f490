"""Publish over core NATS: from the request's bytes to HPUB, with the headers and the envelope that the model would
write. The PONG behind a message, which all of one turn of the loop share, says that the server has it.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from prism_proxy._native.envelope.codec cimport UUID_TEXT, Writer, next_message_id, uuid7_now_ms
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.outlet cimport OutletCounters
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, bound
from prism_proxy._native.http2.buffers cimport chunk_free
from prism_proxy._native.nats.connection cimport (
    CONFIRMED, DENIED, LOST_SENT, SEND_FULL, NatsConnection, confirmed_fn,
)
from prism_proxy._native.pubsub.broker cimport NO_ROOM, NOT_SENT, SENT, BrokerPublisher, has_certificate, settle
from prism_proxy._native.pubsub.envelope_head cimport MAX_HEAD, envelope_head
from prism_proxy._native.pubsub.in_flight cimport InFlightMessage
from prism_proxy._native.pubsub.publish cimport (
    MESSAGE_STAMP, RESPONSE, TRACE_TEXT, message_clock, publish_request_t, put_response, trace_of,
)
from prism_proxy._native.pubsub.topics cimport TopicTable, topic_t
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.slots.permitted cimport PermittedHandler

from prism_proxy._native.nats.connection import NatsClosed, NatsDenied

cdef enum:
    MAX_HEADERS = 10 * 1024     # of one message: 8 KiB of the caller's, and ours

cdef bytes BEGIN = b"NATS/1.0\r\n"
cdef bytes TRACE = b"Prism-Trace-ID: "
cdef bytes MESSAGE_ID = b"Prism-Message-ID: "
cdef bytes PUBLISHED_AT = b"Prism-Published-At: "
cdef bytes SERVER_ID = b"Nats-Msg-Id: "
cdef bytes NAME_BYTES = b"!#$%&'*+.^_`|~0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
cdef uint8_t NAMES[256]
for _byte in range(256):
    NAMES[_byte] = _byte in NAME_BYTES


cdef class NatsTopic:
    def __cinit__(self, bytes subject not None, bytes headers not None, Writer writer=None):
        self.subject, self.headers, self.writer = subject, headers, writer


cdef class NatsPublisher(BrokerPublisher):
    def __cinit__(self, find not None, resolve not None, OutletCounters counters not None, size_t most_bytes,
                  bint raw, explain not None):
        """`find()` is the connection and how many bytes may wait for its server, or raises; `resolve(topic)` makes the
        NatsTopic of a topic, in a list, and raises for a name that is none. `explain(error)` is the PrismError of an
        error."""
        self.find, self.topics, self.counters, self.most_bytes = find, TopicTable(resolve), counters, most_bytes
        self.raw, self.explain = raw, explain
        self.clock.milliseconds = -1

    cdef NatsConnection connection(self):
        if self.found is None or self.found.closed:
            try:
                self.found, self.room = self.find()
            except Exception:
                self.found = None
        return self.found

    cdef bint reachable(self) noexcept:
        return self.connection() is not None

    cdef int send(self, ServerStream stream, topic_t* topic, const publish_request_t* request, uint8_t* message_id,
                  InFlightMessage message) noexcept:
        return send_message(stream, self, topic, request, message_id, message_confirmed, message)

    cdef object unreachable(self):
        return NatsClosed("there is no connection to NATS", False)

    cdef object full(self):
        from prism_proxy.models.messaging_errors import publish_queue_full

        return publish_queue_full("NATS")


cdef int send_message(ServerStream stream, NatsPublisher publisher, topic_t* topic, const publish_request_t* request,
                      uint8_t* message_id, confirmed_fn done, object owner) noexcept:
    """As `BrokerPublisher.send`."""
    cdef NatsConnection connection = publisher.connection()
    cdef NatsTopic target = <NatsTopic>topic.targets[0]
    cdef uint8_t head[MAX_HEADERS + MAX_HEAD]    # headers, and an envelope up to its payload
    cdef size_t n = 0, within = 0
    cdef int64_t now = uuid7_now_ms()
    cdef int rc
    if connection is None:
        return NOT_SENT
    try:
        next_message_id(message_id, now)
    except OSError:
        return NOT_SENT
    if not publisher.raw:
        n = put_headers(stream, publisher, target, request, message_id, now, head)
        if n == 0:
            return NOT_SENT
    if target.writer is not None:
        within = envelope_head(stream, target.writer, request, None, message_id, now, head + n)
        if within == 0:
            return NOT_SENT
    if n + within + request.payload.length > <size_t>connection.max_payload:
        return NOT_SENT
    rc = connection.send(target.subject, head, n, within, request.payload.data, request.payload.length, publisher.room,
                         done, owner, stream.binding.limiter)
    return SENT if rc == 0 else NO_ROOM if rc == SEND_FULL else NOT_SENT


cdef size_t put_headers(ServerStream stream, NatsPublisher publisher, NatsTopic target,
                        const publish_request_t* request, const uint8_t* message_id, int64_t now,
                        uint8_t* out) noexcept:
    """Write the block of a message; its length, or 0 for one that the servicer has to write."""
    cdef size_t n = 512 + PyBytes_GET_SIZE(target.headers), i
    cdef uint8_t* at = put(out, BEGIN)
    cdef uint8_t trace[32]
    cdef int entry
    for entry in range(request.entries):
        n += request.key[entry].length + request.value[entry].length + 4
        for i in range(request.key[entry].length):
            if not NAMES[request.key[entry].data[i]]:
                return 0
    if n > MAX_HEADERS:
        return 0
    for entry in range(request.entries):
        memcpy(at, request.key[entry].data, request.key[entry].length)
        at += request.key[entry].length
        at[0], at[1] = c":", c" "
        at = end_header(at + 2, request.value[entry].data, request.value[entry].length)
    if trace_of(stream, trace):
        at = end_header(put(at, TRACE), trace, TRACE_TEXT)
    at = end_header(put(at, MESSAGE_ID), message_id, UUID_TEXT)
    at = put(at, target.headers)
    if target.writer is None:
        at = end_header(put(at, PUBLISHED_AT), message_clock(&publisher.clock, now), MESSAGE_STAMP)
    at = end_header(put(at, SERVER_ID), message_id, UUID_TEXT)
    at[0], at[1] = c"\r", c"\n"
    return at + 2 - out


cdef inline uint8_t* put(uint8_t* out, bytes text) noexcept:
    memcpy(out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return out + PyBytes_GET_SIZE(text)


cdef inline uint8_t* end_header(uint8_t* out, const uint8_t* value, size_t n) noexcept:
    memcpy(out, value, n)
    out[n], out[n + 1] = c"\r", c"\n"
    return out + n + 2


cdef object error_of(int outcome):
    if outcome == DENIED:
        return NatsDenied("a subject is denied")
    return NatsClosed("the connection to NATS was lost", outcome == LOST_SENT)


cdef void message_confirmed(void* owner, int outcome) noexcept:
    settle(<InFlightMessage>owner, None if outcome == CONFIRMED else error_of(outcome),
           outcome != CONFIRMED and outcome != DENIED)


# --- Publish --------------------------------------------------------------------------------------------------------

cdef class NatsPublish:
    """One call. The id of its message waits in the reply that is begun."""
    cdef ServerStream stream        # None once it has its status

    def deadline_reached(self) -> None:
        if self.stream is not None:
            self.stream.deadline_passed()

    cdef void over(self) noexcept:
        cdef ServerStream stream = self.stream
        if stream is None:
            return
        self.stream = None
        stream.call = None
        if stream.deadline_timer is not None:
            stream.deadline_timer.cancel()
            stream.deadline_timer = None
        stream.handler_finished()

    cdef void confirmed(self, int outcome) noexcept:
        cdef ServerStream stream = self.stream
        cdef NatsPublisher publisher
        if stream is None or stream.answered or stream.session is None:
            self.over()
            return
        publisher = <NatsPublisher>stream.binding.store
        if stream.binding.circuit is not None:
            if outcome == CONFIRMED or outcome == DENIED:
                stream.binding.circuit.succeeded()
            else:
                stream.binding.circuit.failed("CONNECTION_LOST")
        self.over()
        if outcome == CONFIRMED:
            publisher.stored()
            stream.reply_end()
            return
        drop_reply(stream)
        try:
            stream.fail_with(publisher.explain(error_of(outcome)))
        except Exception as error:
            stream.core.loop.call_exception_handler({"message": "an error was not encoded", "exception": error})
            stream.fail(13, "INTERNAL", "the message was not published")


cdef void publish_confirmed(void* owner, int outcome) noexcept:
    (<NatsPublish>owner).confirmed(outcome)


cdef void drop_reply(ServerStream stream) noexcept:
    if stream.reply_chunk != NULL:
        chunk_free(stream.reply_chunk)
        stream.reply_chunk = NULL


cdef class NatsPublishHandler(PermittedHandler):
    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, NatsPublisher)

    cdef int call(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef NatsPublisher publisher = <NatsPublisher>stream.binding.store
        cdef publish_request_t request
        cdef topic_t* topic = NULL
        cdef NatsPublish call
        cdef uint8_t* message_id
        if not has_certificate(stream):
            topic = publisher.ordinary(stream.binding.circuit, data, n, &request)
        if topic == NULL:
            return -1
        message_id = stream.reply_begin(RESPONSE)
        if message_id == NULL:
            return -1
        call = NatsPublish.__new__(NatsPublish)
        if send_message(stream, publisher, topic, &request, put_response(message_id), publish_confirmed, call) != SENT:
            drop_reply(stream)
            return -1
        call.stream = stream
        stream.call = call
        if not stream.handler_active:
            stream.handler_started()
        if stream.deadline_ns:
            stream.deadline_timer = stream.core.loop.call_later(
                max(0, stream.deadline_ns - monotonic_ns()) / 1e9, call.deadline_reached)
        return 0

    cdef void on_cancel(self, ServerStream stream, int code) noexcept:
        if stream.call is not None:
            (<NatsPublish>stream.call).over()
        else:
            stream.handler_finished()   # it waits for a permit


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    return {"/prism.interfaces.pubsub.PubSubBasicInterface/Publish": NatsPublishHandler()}
