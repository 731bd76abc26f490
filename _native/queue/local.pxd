"""What native handlers know of the queues of a namespace whose messages are in this process."""
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.envelope.codec cimport UUID_TEXT
from prism_proxy._native.grpc.protowire cimport proto_bytes_t
from prism_proxy._native.memstore.store cimport MessageBytes
from prism_proxy._native.pubsub.publish cimport message_clock_t, publish_request_t
from prism_proxy._native.pubsub.topics cimport TopicTable
from prism_proxy._native.queue.entries cimport QueueEntries

cdef extern from "queue/message.h":
    int queue_item_scan(proto_bytes_t item, publish_request_t*, int* priority) nogil
    size_t queue_body_size(const publish_request_t*, int64_t milliseconds, int traced) nogil
    void queue_body_put(uint8_t* out, const publish_request_t*, const uint8_t* id, int64_t milliseconds,
                        const uint8_t* stamp, const uint8_t* trace, int priority) nogil


cdef enum:
    MAX_BATCH = 10_000
    MAX_RECEIPT_TEXT = 512


cdef class QueueTable:
    cdef readonly dict queues           # QueueEntries by name
    cdef readonly MessageBytes memory
    cdef object make, ring_at
    cdef int64_t overhead


cdef class LocalQueues:
    cdef QueueTable table
    cdef TopicTable names               # the name of each queue as a str, once it was checked
    cdef object use, counts
    cdef set used                       # names that `use` heard
    cdef size_t most_bytes
    cdef int64_t visibility_ms, max_wait_ms
    cdef bytes expired                  # the text of the error of a receipt that is over
    cdef message_clock_t clock

    cdef str name_of(self, proto_bytes_t name)
    cdef int uses(self, str name) except -1
    cdef QueueEntries known(self, str name)
    cdef int64_t size_of(self, const publish_request_t* request, bint traced) noexcept
    cdef int store(self, QueueEntries queue, const publish_request_t* request, int priority, int64_t now,
                   const uint8_t* trace, uint8_t* message_id) except -1
