"""Publish over Redis: from the request's bytes to PUBLISH, with the envelope that the model would write.

The id of a single message waits in the reply that is begun; `broker_batch` sends many.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from prism_proxy._native.envelope.codec cimport Writer, next_message_id, uuid7_now_ms
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.outlet cimport OutletCounters
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, bound
from prism_proxy._native.http2.buffers cimport chunk_free
from prism_proxy._native.keyvalue.redis cimport RedisHandler, RedisStore
from prism_proxy._native.pubsub.broker cimport NO_ROOM, NOT_SENT, SENT, BrokerPublisher, has_certificate, settle
from prism_proxy._native.pubsub.envelope_head cimport MAX_HEAD, envelope_head
from prism_proxy._native.pubsub.in_flight cimport InFlightMessage
from prism_proxy._native.pubsub.publish cimport RESPONSE, publish_request_t, put_response
from prism_proxy._native.pubsub.topics cimport TopicTable, topic_t
from prism_proxy._native.redis.replies cimport read_command, to_object
from prism_proxy._native.redis.resp cimport (
    ANSWERED, EXPECT_INTEGER, LOST_UNSENT, SEND_CLOSED, SEND_FULL, SEND_OK, FairShare, RespConnection, argument_t,
    reply_fn, resp_reply_t,
)
from prism_proxy._native.schema.check cimport DeclaredSchema

from prism_proxy._native.envelope.codec import scan
from prism_proxy._native.redis.replies import ConnectionLost, PipelineFull

cdef enum:
    MAX_CHANNEL = 1024

cdef str USER_PREFIX = "x-meta-"


cdef class RedisPublisher(BrokerPublisher):
    def __cinit__(self, RedisStore redis not None, bytes channels not None, resolve not None,
                  OutletCounters counters not None, size_t most_bytes, bint raw, explain not None,
                  DeclaredSchema declared=None):
        """`resolve(topic)` makes the Writer of a topic, in a list; it raises for a name that is none. Messages follow
        `declared`. `explain(error)` says what callers are told of an error of Redis."""
        self.redis, self.channels, self.topics, self.counters = redis, channels, TopicTable(resolve), counters
        self.most_bytes, self.raw, self.declared = most_bytes, raw, declared
        self.explain = explain

    cdef bint reachable(self) noexcept:
        return self.redis.places is not None

    cdef int send(self, ServerStream stream, topic_t* topic, const publish_request_t* request, uint8_t* message_id,
                  InFlightMessage message) noexcept:
        cdef int rc = send_message(stream, self, topic, request, message_id, message_done, message, 0)
        return SENT if rc == SEND_OK else NO_ROOM if rc == SEND_FULL else NOT_SENT

    cdef object unreachable(self):
        return ConnectionLost("there is no connection to Redis", False)

    cdef object full(self):
        return PipelineFull("other calls wait for Redis")


cdef void message_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command,
                       size_t n) noexcept:
    error = None
    if outcome != ANSWERED:
        error = ConnectionLost("the connection to Redis was lost", outcome != LOST_UNSENT)
    elif reply.type == c"-":
        error = to_object(reply)
    settle(<InFlightMessage>owner, error, outcome != ANSWERED)


cdef int send_message(ServerStream stream, RedisPublisher publisher, topic_t* topic, const publish_request_t* request,
                      uint8_t* message_id, reply_fn done, object owner, int64_t deadline_ns) noexcept:
    """Write the id of a message and send it, by the rules of writes, so that messages of a topic are sent in order,
    whoever sends them. SEND_OK; SEND_FULL where it has to wait; SEND_CLOSED where it is for the servicer."""
    cdef uint8_t head[MAX_HEAD]
    cdef uint8_t channel[MAX_CHANNEL]
    cdef RedisStore store = publisher.redis
    cdef size_t prefix = PyBytes_GET_SIZE(publisher.channels), length = prefix + request.topic.length, skipped, size
    cdef argument_t arguments[3]
    cdef int64_t now = uuid7_now_ms()
    cdef RespConnection connection
    cdef uint32_t bucket = 0
    cdef Py_ssize_t place
    if length > MAX_CHANNEL:
        return SEND_CLOSED
    try:
        next_message_id(message_id, now)
    except OSError:
        return SEND_CLOSED
    arguments[2].head, arguments[2].head_length = head, 0
    if not publisher.raw:
        arguments[2].head_length = envelope_head(
            stream, <Writer>topic.targets[0], request, publisher.declared, message_id, now, head)
        if arguments[2].head_length == 0:
            return SEND_CLOSED
    memcpy(channel, PyBytes_AS_STRING(publisher.channels), prefix)
    memcpy(channel + prefix, request.topic.data, request.topic.length)
    arguments[0].head_length = arguments[1].head_length = 0
    arguments[0].data, arguments[0].length = <const uint8_t*>"PUBLISH", 7
    arguments[1].data, arguments[1].length = channel, length
    arguments[2].data, arguments[2].length = request.payload.data, request.payload.length
    skipped = min(length, <size_t>PyBytes_GET_SIZE(store.prefix))
    size = arguments[2].head_length + arguments[2].length
    if size > store.max_value_bytes:
        return SEND_CLOSED
    place = store.place_of_write(channel + skipped, length - skipped, size, &bucket)
    if place < 0:
        return SEND_FULL
    connection = store.usable(place)
    if connection is None:
        return SEND_CLOSED
    return connection.send(done, EXPECT_INTEGER, owner, deadline_ns, 3, arguments, <FairShare>store.shares[place],
                           stream.binding.limiter, bucket, None)


cdef class RedisPublish(RedisHandler):
    def __cinit__(self):
        self.done = publish_done
        self.writes = True

    cdef RedisStore store_of(self, ServerStream stream):
        return (<RedisPublisher>stream.binding.store).redis

    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, RedisPublisher)

    cdef int call(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef RedisPublisher publisher = <RedisPublisher>stream.binding.store
        cdef publish_request_t request
        cdef uint8_t* message_id
        cdef topic_t* topic = NULL
        if not has_certificate(stream):
            topic = publisher.ordinary(stream.binding.circuit, data, n, &request)
        if topic == NULL:
            return -1
        message_id = stream.reply_begin(RESPONSE)
        if message_id == NULL or send_message(stream, publisher, topic, &request, put_response(message_id), self.done,
                                              stream, stream.deadline_ns) != SEND_OK:
            return self.forgo(stream)
        if not stream.handler_active:
            stream.handler_started()
        return 0

    cdef int forgo(self, ServerStream stream) noexcept:
        """The servicer makes its own reply."""
        if stream.reply_chunk != NULL:
            chunk_free(stream.reply_chunk)
            stream.reply_chunk = NULL
        return -1

    cdef void fall_back_with(self, ServerStream stream, const uint8_t* command, size_t n) noexcept:
        """Let the servicer try: rebuild the request from the command that was sent."""
        cdef RedisPublisher publisher = <RedisPublisher>stream.binding.store
        cdef const uint8_t* channel = NULL
        cdef const uint8_t* value = NULL
        cdef size_t channel_length = 0, length = 0
        cdef bytes request
        self.forgo(stream)
        if command == NULL or read_command(command, n, 1, &channel, &channel_length) or (
                read_command(command, n, 2, &value, &length)):
            stream.fail(13, "INTERNAL", "a command could not be read back")
            return
        try:
            request = rebuilt(PyBytes_FromStringAndSize(<const char*>channel, channel_length)[
                PyBytes_GET_SIZE(publisher.channels):], PyBytes_FromStringAndSize(<const char*>value, length),
                publisher.raw)
        except Exception as error:
            stream.core.loop.call_exception_handler({"message": "a request was not rebuilt", "exception": error})
            stream.fail(13, "INTERNAL", "a command could not be read back")
            return
        self.fall_back(stream, <const uint8_t*>PyBytes_AS_STRING(request), PyBytes_GET_SIZE(request))
        stream.handler.on_end(stream)


cdef void publish_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command,
                       size_t n) noexcept:
    cdef ServerStream stream = <ServerStream>owner
    if not (<RedisPublish>stream.handler).over(stream, outcome, reply, command, n):
        (<RedisPublisher>stream.binding.store).stored()
        stream.reply_end()


def rebuilt(bytes topic not None, bytes data not None, bint raw) -> bytes:
    """The PublishRequest of a message that was to be sent."""
    from prism.interfaces.pubsub.pubsub_basic_pb2 import PublishRequest     # no call needs it where Redis stays there

    if raw:
        return PublishRequest(topic=topic.decode(), payload=data).SerializeToString()
    found = scan(data)
    metadata = {key.removeprefix(USER_PREFIX): value.decode() for key, value in found.extensions().items()}
    return PublishRequest(topic=topic.decode(), payload=found.payload, metadata=metadata).SerializeToString()


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    return {"/prism.interfaces.pubsub.PubSubBasicInterface/Publish": RedisPublish()}
