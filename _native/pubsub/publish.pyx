"""Publish and PublishBatch to the subscriptions of this process, without a Python object a message.

    request -> scanned where it stands -> topic looked up -> id, time -> Message framed once -> referenced by outlets

What is not ordinary (metadata that Prism gives a meaning, a topic with a log, with queue groups or with subscribers
that Python serves, a subscriber that publishers must wait for, an invalid name, a message that is too large) is handed
to the servicer of the method, so that rules and error messages exist once.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t

from prism_proxy._native.envelope.codec cimport next_message_id, uuid7_now_ms
from prism_proxy._native.envelope.framed cimport framed_t, framed_unref
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.outlet cimport Outlet, OutletCounters
from prism_proxy._native.grpc.protowire cimport PROTO_LEN, proto_bytes_t, proto_reader_t
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, bound
from prism_proxy._native.grpc.trace_context cimport read_traceparent, trace_t, write_trace_id
from prism_proxy._native.pubsub.topics cimport TopicTable, topic_t
from prism_proxy._native.schema.check cimport DeclaredSchema

cdef enum:
    OUT_OF_MEMORY = 8


cdef class LocalPublisher:
    """The native store of publish/subscribe in a namespace whose messages live in this process. Payloads have at most
    `most_bytes`, and follow `declared`."""

    def __cinit__(self, TopicTable topics not None, OutletCounters counters not None, size_t most_bytes,
                  DeclaredSchema declared=None):
        self.topics, self.counters, self.most_bytes, self.declared = topics, counters, most_bytes, declared
        self.clock.milliseconds = -1

    cdef topic_t* admitted(self, const uint8_t* data, size_t n, publish_request_t* request) noexcept:
        """Read a PublishRequest. NULL when its message is for the servicer."""
        cdef topic_t* topic
        cdef uint32_t i
        if publish_scan(data, n, request) or request.payload.length > self.most_bytes:
            return NULL
        topic = self.topics.find(request.topic.data, request.topic.length)
        if topic == NULL or topic.declined:
            return NULL
        if topic.blocking:
            for i in range(topic.count):
                if (<Outlet>topic.targets[i]).blocks():
                    return NULL
        if self.declared is not None and not self.declared.admits(request.payload.data, request.payload.length):
            return NULL
        return topic

    cdef bint publish(self, topic_t* topic, const publish_request_t* request, const uint8_t* trace,
                      uint8_t* message_id) noexcept:
        """Send a message that was admitted, and write its id. False without memory, or randomness."""
        cdef int64_t now = uuid7_now_ms()
        cdef framed_t* framed
        cdef proto_bytes_t declared
        cdef uint32_t i
        if topic == NULL:
            return False
        declared.length = 0
        if self.declared is not None:
            declared.data = <const uint8_t*>PyBytes_AS_STRING(self.declared.entries)
            declared.length = PyBytes_GET_SIZE(self.declared.entries)
        try:
            next_message_id(message_id, now)
        except OSError:
            return False
        if topic.count:
            framed = message_framed(request, message_id, now, message_clock(&self.clock, now), trace, declared)
            if framed == NULL:
                return False
            for i in range(topic.count):
                (<Outlet>topic.targets[i]).push_framed(framed, 0)
            framed_unref(framed)
        self.counters.published += 1
        if self.declared is not None and self.declared.check is not None:
            self.declared.validated += 1
        return True


cdef bint trace_of(ServerStream stream, uint8_t* out) noexcept:
    """Write the id of the trace that the caller continues, in TRACE_TEXT characters."""
    cdef trace_t trace
    if stream.traceparents != 1 or not read_traceparent(
            stream.head.data + stream.traceparent.offset, stream.traceparent.length, &trace):
        return False
    write_trace_id(&trace, <char*>out)
    return True


cdef class PublishHandler(Handler):
    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, LocalPublisher)

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef LocalPublisher publisher = <LocalPublisher>stream.binding.store
        cdef publish_request_t request
        cdef uint8_t trace[32]
        cdef uint8_t* out
        cdef topic_t* topic = publisher.admitted(data, n, &request)
        if topic == NULL:
            self.fall_back(stream, data, n)
            return
        out = stream.reply_begin(RESPONSE)
        if out == NULL:
            return
        if publisher.publish(topic, &request, trace if trace_of(stream, trace) else NULL, put_response(out)):
            stream.reply_end()
        else:
            stream.fail(OUT_OF_MEMORY, "OUT_OF_MEMORY", "no memory for the message")


cdef class PublishBatchHandler(Handler):
    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, LocalPublisher)

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef LocalPublisher publisher = <LocalPublisher>stream.binding.store
        cdef int count = self.admitted(publisher, data, n)
        cdef proto_reader_t reader
        cdef proto_bytes_t item
        cdef publish_request_t request
        cdef uint8_t trace[32]
        cdef bint traced
        cdef uint8_t* out
        cdef int i
        if count < 0:
            self.fall_back(stream, data, n)
            return
        out = stream.reply_begin(<size_t>count * (2 + RESPONSE) + 2)
        if out == NULL:
            return
        traced = trace_of(stream, trace)
        reader.at, reader.end = data, data + n
        for i in range(count):
            next_item(&reader, &item)
            out[0], out[1] = 1 << 3 | PROTO_LEN, RESPONSE
            if not publisher.publish(publisher.admitted(item.data, item.length, &request), &request,
                                     trace if traced else NULL, put_response(out + 2)):
                stream.fail(OUT_OF_MEMORY, "OUT_OF_MEMORY", f"no memory for the message; {i} were published")
                return
            out += 2 + RESPONSE
        out[0], out[1] = 2 << 3, 1      # all_success
        stream.reply_end()

    cdef int admitted(self, LocalPublisher publisher, const uint8_t* data, size_t n) noexcept:
        """How many requests a batch has; -1 when any of them is for the servicer."""
        cdef proto_reader_t reader
        cdef proto_bytes_t item
        cdef publish_request_t request
        cdef topic_t* topic
        cdef int count = 0, more
        reader.at, reader.end = data, data + n
        while True:
            more = next_item(&reader, &item)
            if more <= 0:
                return more if more else count
            topic = publisher.admitted(item.data, item.length, &request)
            if topic == NULL or topic.blocking or count == MAX_BATCH:
                return -1
            count += 1
