"""Publishing to a broker: what the handlers of one message, of batches and of streams need of it."""
from libc.stdint cimport uint8_t

from prism_proxy._native.envelope.codec cimport Writer
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.outlet cimport OutletCounters
from prism_proxy._native.pubsub.in_flight cimport InFlightMessage
from prism_proxy._native.pubsub.publish cimport publish_request_t
from prism_proxy._native.pubsub.topics cimport TopicTable, topic_t
from prism_proxy._native.schema.check cimport DeclaredSchema
from prism_proxy._native.slots.circuit cimport CircuitCore

cdef enum:
    # what became of a message
    SENT = 0
    NOT_SENT = -1       # it is for the servicer
    NO_ROOM = -2        # it has to wait


cdef class BrokerPublisher:
    cdef TopicTable topics      # of each topic what `send` needs
    cdef OutletCounters counters
    cdef size_t most_bytes
    cdef object explain         # the PrismError of an error of the broker
    cdef DeclaredSchema declared

    cdef topic_t* ordinary(self, CircuitCore circuit, const uint8_t* data, size_t n,
                           publish_request_t* request) noexcept
    cdef bint follows(self, const publish_request_t* request) noexcept
    cdef void stored(self) noexcept
    # Upcalls. Whether there is a broker at all.
    cdef bint reachable(self) noexcept
    # Write the id of a message and send it; where it is SENT, `settle` follows. A permit of the stream's limiter goes
    # with it, and comes back with the answer.
    cdef int send(self, ServerStream stream, topic_t* topic, const publish_request_t* request, uint8_t* message_id,
                  InFlightMessage message) noexcept
    # The errors where nothing takes a message, and where others have all permits for too long.
    cdef object unreachable(self)
    cdef object full(self)


cdef void settle(InFlightMessage message, object error, bint lost) noexcept
cdef bytes refused(BrokerPublisher publisher, error)
cdef bint has_certificate(ServerStream stream) noexcept
