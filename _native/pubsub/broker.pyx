"""What publishing natively has in common over brokers. What is not ordinary is the servicer's, as over a memory store:
also a caller with a certificate, whose name goes into the message."""
import ssl

from libc.stdint cimport uint8_t

from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.pubsub.in_flight cimport InFlight, InFlightMessage
from prism_proxy._native.pubsub.publish cimport publish_request_t, publish_scan
from prism_proxy._native.pubsub.topics cimport topic_t
from prism_proxy._native.slots.circuit cimport CircuitCore


cdef class BrokerPublisher:
    cdef topic_t* ordinary(self, CircuitCore circuit, const uint8_t* data, size_t n,
                           publish_request_t* request) noexcept:
        """Read a PublishRequest. NULL when its message is for the servicer."""
        cdef topic_t* topic
        if publish_scan(data, n, request) or request.payload.length > self.most_bytes or not self.reachable():
            return NULL
        if circuit is not None and not circuit.closed:
            return NULL
        topic = self.topics.find(request.topic.data, request.topic.length)
        return topic if topic != NULL and topic.count and self.follows(request) else NULL

    cdef bint follows(self, const publish_request_t* request) noexcept:
        """Whether a message follows the namespace's schema, as far as native code knows."""
        if self.declared is None:
            return True
        return self.declared.context is not None and self.declared.admits(
            request.payload.data, request.payload.length)

    cdef void stored(self) noexcept:
        self.counters.published += 1
        if self.declared is not None and self.declared.check is not None:
            self.declared.validated += 1

    cdef bint reachable(self) noexcept:
        return False

    cdef int send(self, ServerStream stream, topic_t* topic, const publish_request_t* request, uint8_t* message_id,
                  InFlightMessage message) noexcept:
        return NOT_SENT

    cdef object unreachable(self):
        raise NotImplementedError

    cdef object full(self):
        raise NotImplementedError


cdef void settle(InFlightMessage message, object error, bint lost) noexcept:
    """The broker has a message, or `error` says why not; `lost`: with its connection."""
    cdef InFlight call = message.call
    cdef ServerStream stream = call.stream
    cdef BrokerPublisher publisher
    cdef CircuitCore circuit
    cdef bytes failure = None
    if stream is None or stream.binding is None:
        return      # nobody waits for the result
    publisher, circuit = <BrokerPublisher>stream.binding.store, stream.binding.circuit
    if error is not None:
        failure = refused(publisher, error)
    else:
        publisher.stored()
    if circuit is not None:
        if lost:
            circuit.failed("CONNECTION_LOST")
        else:
            circuit.succeeded()
    call.settle(message.number, failure)


cdef bytes refused(BrokerPublisher publisher, error):
    """The PublishResponse of an error."""
    from prism.interfaces.pubsub.pubsub_basic_pb2 import PublishResponse    # most processes never need it

    return PublishResponse(success=False, error=str(publisher.explain(error))).SerializeToString()


cdef bint has_certificate(ServerStream stream) noexcept:
    """Whether the caller may have one: where the server asks for them."""
    cdef object found = stream.connection.ssl_object
    try:
        return found is not None and found.context.verify_mode != ssl.CERT_NONE
    except Exception:
        return True
