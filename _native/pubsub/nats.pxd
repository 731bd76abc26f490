"""Publishing over core NATS."""
from prism_proxy._native.envelope.codec cimport Writer
from prism_proxy._native.nats.connection cimport NatsConnection
from prism_proxy._native.pubsub.broker cimport BrokerPublisher
from prism_proxy._native.pubsub.publish cimport message_clock_t


cdef class NatsTopic:
    """Of each topic its subject, the headers that all its messages have, and what writes their envelopes, if any."""
    cdef bytes subject, headers
    cdef Writer writer


cdef class NatsPublisher(BrokerPublisher):
    cdef object find            # the connection that is usable now
    cdef NatsConnection found
    cdef size_t room            # bytes that may wait for the server
    cdef bint raw               # messages are their payloads
    cdef message_clock_t clock

    cdef NatsConnection connection(self)
