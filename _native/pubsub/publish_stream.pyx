"""PublishStream to the subscriptions of this process: requests are published as they come, and answered in groups.

    message --ordinary--> published, its answer noted --+-- the loop has read what there is, or GROUP are noted: reply
       `-- for the servicer --> what is noted goes out, and the servicer serves the rest of the call

A caller that takes no answers gets no credit for more than a stream's window of requests.
"""
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport PROTO_LEN, proto_put_varint, proto_varint_size
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, bound
from prism_proxy._native.http2.buffers cimport buffer_append, buffer_free, buffer_t
from prism_proxy._native.pubsub.in_flight cimport InFlight
from prism_proxy._native.pubsub.publish cimport (
    RESPONSE, LocalPublisher, publish_request_t, put_response, topic_t, trace_of,
)
from prism_proxy._native.runtime.clock cimport monotonic_ns

from prism_proxy._native.pubsub.publish import PublishBatchHandler, PublishHandler

cdef enum:
    GROUP = 256                 # answers in one reply
    RESULT = 2 + RESPONSE       # bytes of an answer within it
    OUT_OF_MEMORY = 8


cdef class PublishStream(InFlight):
    cdef uint8_t* note(self) noexcept:
        """Where the id of the next answer goes; `noted_one` once it is there."""
        cdef uint8_t* out = self.results + self.noted * RESULT
        out[0], out[1] = 2 << 3 | PROTO_LEN, RESPONSE
        return put_response(out + 2)

    cdef void noted_one(self) noexcept:
        self.noted += 1
        self.answered += 1
        if self.noted == GROUP:
            self.send_answers()
        else:
            self.schedule()

    cdef void schedule(self) noexcept:
        if not self.scheduled:
            self.scheduled = True
            self.stream.core.loop.call_soon(self.flush)

    def flush(self):
        self.scheduled = False
        if self.stream is not None:
            self.send_answers()

    cdef void send_answers(self) noexcept:
        """A PublishStreamResponse of what is noted."""
        cdef int noted = self.noted
        self.noted = 0
        if noted:
            self.send(self.results, noted * RESULT)

    cdef void send_result(self, const uint8_t* response, size_t n) noexcept:
        """A PublishStreamResponse of one PublishResponse, behind what is noted."""
        cdef uint8_t head[16]
        cdef buffer_t out
        self.send_answers()
        if self.stream is None:
            return
        self.answered += 1
        memset(&out, 0, sizeof(out))
        head[0] = 2 << 3 | PROTO_LEN
        if buffer_append(&out, head, proto_put_varint(head + 1, n) - head) or buffer_append(&out, response, n):
            self.stream.fail(OUT_OF_MEMORY, "OUT_OF_MEMORY", "no memory for the reply")
            self.over()
        else:
            self.send(out.data, out.length)
        buffer_free(&out)

    cdef void send(self, const uint8_t* results, size_t size) noexcept:
        cdef size_t n = 1 + proto_varint_size(self.answered) + size
        cdef uint8_t* out
        if self.stream.session is None or self.stream.answered:
            return
        out = self.stream.reply_begin(n)
        if out == NULL:
            self.over()
            return
        out[0] = 1 << 3
        memcpy(proto_put_varint(out + 1, self.answered), results, size)
        self.unsent += n
        self.stream.queued_bytes += n
        self.stream.message_end(NULL)

    cdef void give_credit(self) noexcept:
        """The caller took answers."""
        cdef size_t left = self.stream.out_bytes
        if self.unsent > left:
            self.stream.credit_taken(self.unsent - left)
            self.unsent = left

    cdef void finish(self) noexcept:
        cdef ServerStream stream = self.stream
        self.send_answers()
        stream.finish(0, None, None, None)
        self.over()

    cdef void over(self) noexcept:
        """The call has its status, or another handler."""
        cdef ServerStream stream = self.stream
        if stream is None:
            return
        self.stream = None
        stream.queued_bytes -= self.unsent
        self.unsent = 0
        if stream.call is self:
            stream.call = None
        if stream.deadline_timer is not None:
            stream.deadline_timer.cancel()
            stream.deadline_timer = None
        if self.streams is not None:
            self.streams.discard(self)
        stream.handler_finished()

    def end(self, error) -> None:
        """This proxy cannot go on with it: what was published is answered."""
        if self.stream is not None:
            self.send_answers()
            self.stream.fail_with(error)
            self.over()

    def drained(self) -> None:
        """Its connection is to end."""
        if self.stream is not None:
            self.streams.drain(self)

    def deadline_reached(self) -> None:
        if self.stream is not None:
            self.stream.deadline_passed()


cdef class PublishStreamHandler(Handler):
    def __cinit__(self):
        self.request_streaming = True

    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, LocalPublisher)

    cdef PublishStream open_call(self):
        return PublishStream.__new__(PublishStream)

    cdef void on_start(self, ServerStream stream) noexcept:
        cdef PublishStream call = self.open_call()
        call.stream = stream
        call.traced = trace_of(stream, call.trace)
        stream.call = call
        stream.handler_started()
        if stream.deadline_ns:
            stream.deadline_timer = stream.core.loop.call_later(
                max(0, stream.deadline_ns - monotonic_ns()) / 1e9, call.deadline_reached)
        try:
            call.streams = stream.route.route.streams
            call.streams.add(call)
        except Exception as error:
            stream.core.loop.call_exception_handler({"message": "a stream could not be opened", "exception": error})
            stream.fail(13, "INTERNAL", "the stream could not be opened; see the proxy's log")
            call.over()

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef LocalPublisher publisher = <LocalPublisher>stream.binding.store
        cdef PublishStream call
        cdef publish_request_t request
        cdef topic_t* topic
        if stream.call is None:
            return
        call = <PublishStream>stream.call
        topic = publisher.admitted(data, n, &request)
        if topic == NULL:
            self.give_up(stream, data, n)
        elif publisher.publish(topic, &request, call.trace if call.traced else NULL, call.note()):
            call.noted_one()
        else:
            call.send_answers()
            stream.fail(OUT_OF_MEMORY, "OUT_OF_MEMORY", "no memory for the message")
            call.over()

    cdef void give_up(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        """The servicer takes over with this message."""
        cdef PublishStream call = <PublishStream>stream.call
        cdef int64_t answered = call.answered
        call.send_answers()
        call.over()
        if stream.answered or stream.session is None:
            return
        stream.handler = <Handler>stream.method.servicer
        stream.handler.on_start(stream)
        if stream.call is not None:     # else it was shed
            try:
                stream.call.answered_before = answered
            except Exception as error:
                stream.core.loop.call_exception_handler({"message": "a call changed hands", "exception": error})
        stream.handler.on_message(stream, data, n)

    cdef void on_end(self, ServerStream stream) noexcept:
        if stream.call is not None:
            (<PublishStream>stream.call).finish()

    cdef void on_cancel(self, ServerStream stream, int code) noexcept:
        if stream.call is not None:
            (<PublishStream>stream.call).over()

    cdef void on_output_drained(self, ServerStream stream) noexcept:
        if stream.call is not None:
            (<PublishStream>stream.call).give_credit()

    cdef void on_drain(self, ServerStream stream) noexcept:
        if stream.call is not None:
            stream.core.loop.call_soon((<PublishStream>stream.call).drained)


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    service = "/prism.interfaces.pubsub.PubSub"
    return {service + "BasicInterface/Publish": PublishHandler(),
            service + "BatchInterface/PublishBatch": PublishBatchHandler(),
            service + "BatchInterface/PublishStream": PublishStreamHandler()}
