"""Publishing over Redis."""
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.outlet cimport OutletCounters
from prism_proxy._native.keyvalue.redis cimport RedisStore
from prism_proxy._native.pubsub.publish cimport publish_request_t
from prism_proxy._native.pubsub.topics cimport TopicTable, topic_t
from prism_proxy._native.redis.resp cimport reply_fn
from prism_proxy._native.schema.check cimport DeclaredSchema
from prism_proxy._native.slots.circuit cimport CircuitCore


cdef class RedisPublisher:
    cdef RedisStore redis
    cdef bytes channels         # what the channel of each topic begins with
    cdef TopicTable topics      # of each topic the Writer of its envelopes
    cdef OutletCounters counters
    cdef size_t most_bytes
    cdef bint raw               # messages are their payloads
    cdef object explain         # what callers are told of an error of Redis
    cdef DeclaredSchema declared

    cdef topic_t* ordinary(self, CircuitCore circuit, const uint8_t* data, size_t n,
                           publish_request_t* request) noexcept
    cdef bint follows(self, const publish_request_t* request) noexcept
    cdef void stored(self) noexcept


cdef int send_message(ServerStream stream, RedisPublisher publisher, topic_t* topic, const publish_request_t* request,
                      uint8_t* message_id, reply_fn done, object owner, int64_t deadline_ns) noexcept
cdef bint has_certificate(ServerStream stream) noexcept
