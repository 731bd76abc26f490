"""PublishStream and PublishBatch over a broker: each message is sent by itself, and results are answered in the order
of the requests.

    message --ordinary, there is room--> sent -----------------------+-> settled, answered in groups
       |----- no room, or no permit ---> held: sent when others have left
       `----- for the servicer --------> held: the servicer takes over when nothing is on its way any more

A caller that is held gets no credit for more than a stream's window of requests.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from prism_proxy._native.envelope.codec cimport UUID_TEXT
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport (
    PROTO_LEN, proto_bytes_t, proto_put_varint, proto_reader_t, proto_varint_size,
)
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, bound
from prism_proxy._native.grpc.unread cimport UnreadMessages
from prism_proxy._native.pubsub.broker cimport (
    NO_ROOM, NOT_SENT, SENT, BrokerPublisher, has_certificate, refused,
)
from prism_proxy._native.pubsub.in_flight cimport FAILED, InFlight, InFlightMessage, result_t
from prism_proxy._native.pubsub.publish cimport MAX_BATCH, RESPONSE, next_item, publish_request_t, put_response
from prism_proxy._native.pubsub.publish_stream cimport PublishStream, PublishStreamHandler
from prism_proxy._native.pubsub.topics cimport topic_t
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.slots.concurrency_limiter cimport ConcurrencyCore

cdef enum:
    MOST_UNSETTLED = 1024       # messages of one call: with replies after 1 ms, a million a second
    OUT_OF_MEMORY = 8

cdef double LOOK_S = 0.001      # between two looks for room that calls of others have taken


cdef int enter_and_send(InFlight call, BrokerPublisher publisher, topic_t* topic, publish_request_t* request,
                        bint permit) noexcept:
    """Send a message, with a permit that is there already, or is taken. SENT; NO_ROOM where it has to wait;
    NOT_SENT where nothing takes it. A permit that was given is used up by SENT alone."""
    cdef ServerStream stream = call.stream
    cdef ConcurrencyCore limiter = stream.binding.limiter
    cdef InFlightMessage message
    cdef uint8_t* message_id
    cdef int rc = NO_ROOM
    if call.unsettled >= MOST_UNSETTLED:
        return NO_ROOM
    if limiter is not None and not permit and not limiter.enter():
        return NO_ROOM
    message_id = call.begin()
    if message_id != NULL:
        message = InFlightMessage.__new__(InFlightMessage)
        message.call, message.number = call, call.tail - 1
        rc = publisher.send(stream, topic, request, message_id, message)
        if rc != SENT:
            call.retract()
    if rc != SENT and limiter is not None and not permit:
        limiter.leave()
    return rc


# --- PublishStream --------------------------------------------------------------------------------------------------

cdef class BrokerStream(PublishStream):
    cdef UnreadMessages held
    cdef bytes next         # of those that are held
    cdef bint plain         # the caller's name does not go into envelopes
    cdef bint ended         # the caller sends no more
    cdef bint leaving       # the servicer takes over once nothing is on its way
    cdef bint queued        # for a permit
    cdef bint pausing       # until LOOK_S has passed
    cdef object ending      # the error by which this proxy ends the stream then

    cdef void take(self, const uint8_t* data, size_t n) noexcept:
        cdef int rc = NO_ROOM
        if self.next is None and self.held.empty() and not self.leaving and self.ending is None:
            rc = self.send_one(data, n, False)
            if rc == SENT:
                return
        self.leaving |= rc == NOT_SENT
        if self.leaving and self.unsettled == 0 and self.next is None and self.held.empty():
            self.hand_over(data, n)
        else:
            self.hold(data, n)

    cdef int send_one(self, const uint8_t* data, size_t n, bint permit) noexcept:
        """As `enter_and_send`; NOT_SENT too for what is not ordinary."""
        cdef BrokerPublisher publisher = <BrokerPublisher>self.stream.binding.store
        cdef publish_request_t request
        cdef topic_t* topic = NULL
        if self.plain:
            topic = publisher.ordinary(self.stream.binding.circuit, data, n, &request)
        return NOT_SENT if topic == NULL else enter_and_send(self, publisher, topic, &request, permit)

    cdef void hold(self, const uint8_t* data, size_t n) noexcept:
        cdef int64_t before = self.held.held
        cdef ServerStream stream = self.stream
        if not self.held.keep(data, n):
            stream.fail(OUT_OF_MEMORY, "OUT_OF_MEMORY", "no memory for the request message")
            self.over()
            return
        stream.queued_bytes += 4 + n
        stream.account(self.held.held - before)
        self.schedule()

    cdef bytes first_held(self):
        cdef int64_t before = self.held.held
        if self.next is None and not self.held.empty():
            self.next = self.held.take()
            self.stream.account(self.held.held - before)
        return self.next

    cdef void first_sent(self) noexcept:
        cdef size_t n = 4 + PyBytes_GET_SIZE(self.next)
        self.next = None
        self.stream.credit_taken(n)

    cdef void settled(self) noexcept:
        cdef result_t* result = self.oldest()
        cdef bytes failure
        while result != NULL and self.stream is not None:
            if result.state == FAILED:
                failure = self.failures.pop(self.first)
                self.first += 1
                self.send_result(<const uint8_t*>PyBytes_AS_STRING(failure), PyBytes_GET_SIZE(failure))
            else:
                memcpy(self.note(), result.message_id, UUID_TEXT)
                self.first += 1
                self.noted_one()
            result = self.oldest()
        if self.stream is not None:
            self.schedule()     # permits are free, and room, once the connection has done with this reply

    def flush(self):
        self.scheduled = False
        if self.stream is None:
            return
        self.send_answers()
        if self.stream is not None:
            self.go_on(False)

    cdef void go_on(self, bint permit) noexcept:
        """Send what is held, as far as it goes; `permit`: with one that is there for the first."""
        cdef ConcurrencyCore limiter = self.stream.binding.limiter
        cdef bytes message
        cdef int rc = SENT
        while rc == SENT and not self.leaving and self.ending is None and self.first_held() is not None:
            message = self.next
            rc = self.send_one(<const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), permit)
            if rc == SENT:
                permit = False
                self.first_sent()
            self.leaving |= rc == NOT_SENT
        if permit:
            limiter.permit_returned()   # the limiter that gave it looks for free ones itself
        if self.unsettled:
            return
        if self.ending is not None:
            PublishStream.end(self, self.ending)
        elif self.first_held() is not None and self.leaving:
            message = self.next
            self.first_sent()
            self.hand_over(<const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
        elif self.first_held() is not None:
            self.wait_for_others()
        elif self.ended:
            self.finish()

    cdef void wait_for_others(self) noexcept:
        """Nothing of this call will free a place: stand in the queue for a permit, or look again for room."""
        cdef ConcurrencyCore limiter = self.stream.binding.limiter
        if limiter is not None and (limiter.queue or limiter.in_flight >= limiter.allowed):
            if not self.queued:
                self.queued = True
                if not limiter.join(StreamTurn(self)):
                    self.refuse()
        elif not self.pausing:
            self.pausing = True
            self.stream.core.loop.call_later(LOOK_S, self.look)

    def look(self):
        self.pausing = False
        if self.stream is not None:
            self.go_on(False)

    cdef void refuse(self) noexcept:
        """There was no permit in time."""
        cdef ServerStream stream = self.stream
        self.send_answers()
        stream.end_with(8, stream.binding.limiter.refusal_trailers(
            stream.method.operation, monotonic_ns(), stream.core.describe_error))
        self.over()

    cdef void hand_over(self, const uint8_t* data, size_t n) noexcept:
        """The servicer takes over with this message, and then has those that are held."""
        cdef ServerStream stream = self.stream
        cdef UnreadMessages held = self.held
        cdef bytes message
        cdef int64_t before
        self.held = UnreadMessages()
        (<PublishStreamHandler>stream.handler).give_up(stream, data, n)
        while not held.empty() and not stream.answered and stream.session is not None:
            before = held.held
            message = held.take()
            stream.account(held.held - before)
            stream.queued_bytes -= 4 + PyBytes_GET_SIZE(message)
            stream.handler.on_message(stream, <const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
        if self.ended and not stream.answered and stream.session is not None:
            stream.handler.on_end(stream)

    cdef void finish_soon(self) noexcept:
        self.ended = True
        if self.unsettled == 0 and self.next is None and self.held.empty():
            self.finish()

    cdef void over(self) noexcept:
        cdef ServerStream stream = self.stream
        cdef int64_t before
        if stream is not None:
            before = self.held.held
            while not self.held.empty():
                stream.queued_bytes -= 4 + PyBytes_GET_SIZE(self.held.take())
            stream.account(self.held.held - before)
            if self.next is not None:
                stream.queued_bytes -= 4 + PyBytes_GET_SIZE(self.next)
                self.next = None
        PublishStream.over(self)

    def end(self, error) -> None:
        if self.stream is None:
            return
        if self.unsettled == 0:
            PublishStream.end(self, error)
        else:
            self.ending = error     # what was sent gets its answer first


cdef class StreamTurn:
    """A stream in the queue for permits, as `ConcurrencyLimiter` has them."""
    cdef BrokerStream call

    def __cinit__(self, BrokerStream call):
        self.call = call

    def done(self) -> bool:
        """Whether its caller has gone, or its deadline ended it."""
        return self.call.stream is None

    def set_result(self, bint permit) -> None:
        self.call.queued = False
        if permit:
            self.call.go_on(True)
        else:
            self.call.refuse()


cdef class BrokerStreamHandler(PublishStreamHandler):
    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, BrokerPublisher)

    cdef PublishStream open_call(self):
        cdef BrokerStream call = BrokerStream.__new__(BrokerStream)
        call.held = UnreadMessages()
        return call

    cdef void on_start(self, ServerStream stream) noexcept:
        PublishStreamHandler.on_start(self, stream)
        if stream.call is not None:
            (<BrokerStream>stream.call).plain = not has_certificate(stream)

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef BrokerStream call = stream.call    # a reference: the stream may drop its own meanwhile
        if call is not None:
            call.take(data, n)

    cdef void on_end(self, ServerStream stream) noexcept:
        cdef BrokerStream call = stream.call
        if call is not None:
            call.finish_soon()


# --- PublishBatch ---------------------------------------------------------------------------------------------------

cdef class BrokerBatch(InFlight):
    """One call, whose request is kept until its last message is sent."""
    cdef bytes request
    cdef size_t at                  # the first byte of the request that is not sent
    cdef uint32_t count
    cdef bint queued, scheduled, pausing

    cdef void go_on(self, bint permit) noexcept:
        """Send what is left, as far as it goes; `permit`: with one that is there for the first."""
        cdef BrokerPublisher publisher = <BrokerPublisher>self.stream.binding.store
        cdef ConcurrencyCore limiter = self.stream.binding.limiter
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(self.request)
        cdef proto_reader_t reader
        cdef proto_bytes_t item
        cdef publish_request_t request
        cdef topic_t* topic
        cdef int rc = SENT
        reader.at, reader.end = data + self.at, data + PyBytes_GET_SIZE(self.request)
        while rc == SENT and next_item(&reader, &item) > 0:
            topic = publisher.ordinary(None, item.data, item.length, &request)
            rc = NOT_SENT if topic == NULL else enter_and_send(self, publisher, topic, &request, permit)
            if rc == NOT_SENT:
                if self.begin() == NULL:
                    self.fail_memory()
                    return
                self.settle(self.tail - 1, refused(publisher, publisher.unreachable()))
                if self.stream is None:
                    break
            if rc == SENT:
                permit = False
            if rc != NO_ROOM:
                self.at = reader.at - data
                rc = SENT
        if permit:
            limiter.permit_returned()
        if rc == NO_ROOM and self.unsettled == 0 and self.stream is not None:
            self.wait_for_others()

    cdef void wait_for_others(self) noexcept:
        cdef ConcurrencyCore limiter = self.stream.binding.limiter
        if limiter is not None and (limiter.queue or limiter.in_flight >= limiter.allowed):
            if not self.queued:
                self.queued = True
                if not limiter.join(BatchTurn(self)):
                    self.refuse()
        elif not self.pausing:
            self.pausing = True
            self.stream.core.loop.call_later(LOOK_S, self.look)

    def look(self):
        self.pausing = self.scheduled = False
        if self.stream is not None:
            self.go_on(False)

    cdef void settled(self) noexcept:
        if self.stream is None:
            return
        if self.tail == self.count and self.unsettled == 0:
            self.answer()
        elif self.tail < self.count and not self.scheduled:
            self.scheduled = True
            self.stream.core.loop.call_soon(self.look)

    cdef void answer(self) noexcept:
        """The reply: every result, in order."""
        cdef ServerStream stream = self.stream
        cdef size_t n = 0 if self.failures else 2
        cdef uint8_t* out
        cdef bytes failure
        cdef uint64_t i
        cdef size_t length
        for i in range(self.count):
            if self.ring[i & (self.capacity - 1)].state == FAILED:
                length = PyBytes_GET_SIZE(self.failures[i])
                n += 1 + proto_varint_size(length) + length
            else:
                n += 2 + RESPONSE
        self.over()
        out = stream.reply_begin(n)
        if out == NULL:
            return
        for i in range(self.count):
            out[0] = 1 << 3 | PROTO_LEN
            if self.ring[i & (self.capacity - 1)].state == FAILED:
                failure = self.failures[i]
                length = PyBytes_GET_SIZE(failure)
                out = proto_put_varint(out + 1, length)
                memcpy(out, PyBytes_AS_STRING(failure), length)
                out += length
            else:
                out[1] = RESPONSE
                memcpy(put_response(out + 2), self.ring[i & (self.capacity - 1)].message_id, UUID_TEXT)
                out += 2 + RESPONSE
        if not self.failures:
            out[0], out[1] = 2 << 3, 1      # all_success
        stream.reply_end()

    cdef void refuse(self) noexcept:
        """There was no permit in time: for the whole call, or for the rest of its messages."""
        cdef ServerStream stream = self.stream
        if self.tail:
            self.refuse_rest()
            return
        self.over()
        stream.end_with(8, stream.binding.limiter.refusal_trailers(
            stream.method.operation, monotonic_ns(), stream.core.describe_error))

    cdef void refuse_rest(self) noexcept:
        cdef BrokerPublisher publisher = <BrokerPublisher>self.stream.binding.store
        cdef bytes failure = refused(publisher, publisher.full())
        while self.stream is not None and self.tail < self.count:
            if self.begin() == NULL:
                self.fail_memory()
                return
            self.settle(self.tail - 1, failure)

    cdef void fail_memory(self) noexcept:
        cdef ServerStream stream = self.stream
        self.over()
        stream.fail(OUT_OF_MEMORY, "OUT_OF_MEMORY", f"no memory for the messages; {self.tail} were sent")

    cdef void over(self) noexcept:
        cdef ServerStream stream = self.stream
        if stream is None:
            return
        self.stream = None
        stream.account(-<int64_t>PyBytes_GET_SIZE(self.request))
        if stream.deadline_timer is not None:
            stream.deadline_timer.cancel()
            stream.deadline_timer = None
        stream.call = None
        stream.handler_finished()

    def deadline_reached(self) -> None:
        if self.stream is not None:
            self.stream.deadline_passed()


cdef class BatchTurn:
    """As StreamTurn."""
    cdef BrokerBatch call

    def __cinit__(self, BrokerBatch call):
        self.call = call

    def done(self) -> bool:
        return self.call.stream is None

    def set_result(self, bint permit) -> None:
        self.call.queued = False
        if permit:
            self.call.go_on(True)
        else:
            self.call.refuse()


cdef class BrokerBatchHandler(Handler):
    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, BrokerPublisher)

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef int count = self.ordinary(stream, data, n)
        cdef BrokerBatch call
        if count <= 0:
            self.fall_back(stream, data, n)
            return
        call = BrokerBatch.__new__(BrokerBatch)
        call.stream, call.count = stream, count
        call.request = PyBytes_FromStringAndSize(<const char*>data, n)
        stream.call = call
        stream.handler_started()
        stream.account(n)
        if stream.deadline_ns:
            stream.deadline_timer = stream.core.loop.call_later(
                max(0, stream.deadline_ns - monotonic_ns()) / 1e9, call.deadline_reached)
        call.go_on(False)

    cdef int ordinary(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        """How many requests a batch has; -1 when any of them is for the servicer."""
        cdef BrokerPublisher publisher = <BrokerPublisher>stream.binding.store
        cdef proto_reader_t reader
        cdef proto_bytes_t item
        cdef publish_request_t request
        cdef int count = 0, more
        if has_certificate(stream):
            return -1
        reader.at, reader.end = data, data + n
        while True:
            more = next_item(&reader, &item)
            if more <= 0:
                return more if more else count
            if count == MAX_BATCH or publisher.ordinary(
                    stream.binding.circuit, item.data, item.length, &request) == NULL:
                return -1
            count += 1

    cdef void on_cancel(self, ServerStream stream, int code) noexcept:
        if stream.call is not None:
            (<BrokerBatch>stream.call).over()


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    service = "/prism.interfaces.pubsub.PubSubBatchInterface/"
    return {service + "PublishBatch": BrokerBatchHandler(),
            service + "PublishStream": BrokerStreamHandler()}
