"""Publishing over Redis."""
from prism_proxy._native.keyvalue.redis cimport RedisStore
from prism_proxy._native.pubsub.broker cimport BrokerPublisher


cdef class RedisPublisher(BrokerPublisher):
    cdef RedisStore redis
    cdef bytes channels         # what the channel of each topic begins with; the topics' targets are Writers
    cdef bint raw               # messages are their payloads
