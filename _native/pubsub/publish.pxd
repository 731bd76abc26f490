"""Publishing to the subscriptions of this process."""
from libc.stdint cimport int64_t, uint8_t, uint32_t

from prism_proxy._native.envelope.codec cimport UUID_TEXT
from prism_proxy._native.envelope.framed cimport framed_t
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.outlet cimport OutletCounters
from prism_proxy._native.grpc.protowire cimport (
    PROTO_LEN, proto_bytes_t, proto_length_delimited, proto_reader_t, proto_tag,
)
from prism_proxy._native.pubsub.topics cimport TopicTable, topic_t
from prism_proxy._native.schema.check cimport DeclaredSchema

cdef extern from "pubsub/message.h":
    enum:
        MESSAGE_STAMP, TRACE_TEXT

    ctypedef struct publish_request_t:
        proto_bytes_t topic
        proto_bytes_t payload
        proto_bytes_t* key
        proto_bytes_t* value
        int entries

    ctypedef struct message_clock_t:
        int64_t milliseconds
        uint8_t text[24]

    int publish_scan(const uint8_t* data, size_t n, publish_request_t*) nogil
    uint8_t* message_extensions(const publish_request_t*, uint8_t* out, const uint8_t* end) nogil
    const uint8_t* message_clock(message_clock_t*, int64_t milliseconds) nogil
    framed_t* message_framed(const publish_request_t*, const uint8_t* id, int64_t milliseconds, const uint8_t* stamp,
                             const uint8_t* trace, proto_bytes_t declared) nogil


cdef enum:
    RESPONSE = 40       # bytes of a PublishResponse that says success
    MAX_BATCH = 10_000


cdef inline uint8_t* put_response(uint8_t* out) noexcept:
    """A PublishResponse that says success; where its id goes."""
    out[0] = 1 << 3
    out[1] = 1
    out[2] = 2 << 3 | 2
    out[3] = UUID_TEXT
    return out + 4


cdef class LocalPublisher:
    cdef TopicTable topics
    cdef OutletCounters counters
    cdef size_t most_bytes
    cdef DeclaredSchema declared
    cdef message_clock_t clock

    cdef topic_t* admitted(self, const uint8_t* data, size_t n, publish_request_t* request) noexcept
    cdef bint publish(self, topic_t* topic, const publish_request_t* request, const uint8_t* trace,
                      uint8_t* message_id) noexcept


cdef bint trace_of(ServerStream stream, uint8_t* out) noexcept


cdef inline int next_item(proto_reader_t* reader, proto_bytes_t* item) noexcept:
    """The next request of a batch: 1, 0 at the end, or -1 where there is anything else."""
    cdef uint32_t field
    cdef int wire_type
    cdef int more = proto_tag(reader, &field, &wire_type)
    if more <= 0:
        return more
    return 1 if field == 1 and wire_type == PROTO_LEN and proto_length_delimited(reader, item) == 0 else -1
