"""Publishing over Redis."""
from prism_proxy._native.grpc.outlet cimport OutletCounters
from prism_proxy._native.keyvalue.redis cimport RedisStore
from prism_proxy._native.pubsub.topics cimport TopicTable
from prism_proxy._native.schema.check cimport DeclaredSchema


cdef class RedisPublisher:
    cdef RedisStore redis
    cdef bytes channels         # what the channel of each topic begins with
    cdef TopicTable topics      # of each topic the Writer of its envelopes
    cdef OutletCounters counters
    cdef size_t most_bytes
    cdef bint raw               # messages are their payloads
    cdef DeclaredSchema declared
