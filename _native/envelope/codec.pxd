from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from prism_proxy._native.grpc.protowire cimport proto_bytes_t

cdef extern from "envelope/wire.h" nogil:
    enum:
        ENVELOPE_VERSION, ENVELOPE_METADATA, ENVELOPE_PAYLOAD, ENVELOPE_SECURITY, ENVELOPE_OBSERVABILITY
        ENVELOPE_SCHEMA, ENVELOPE_EXTENSIONS, ENVELOPE_OK, ENVELOPE_MALFORMED, ENVELOPE_IRREGULAR

    ctypedef struct envelope_view_t:
        int32_t version
        int32_t priority
        int64_t ttl_seconds
        int64_t published_seconds
        int32_t published_nanos
        uint32_t present
        int extensions
        int unknown
        proto_bytes_t part[7]
        proto_bytes_t type_url
        proto_bytes_t message_id
        proto_bytes_t topic
        proto_bytes_t name_space
        proto_bytes_t content_type
        proto_bytes_t content_encoding
        proto_bytes_t correlation_id
        proto_bytes_t causality_parent

    int envelope_scan(const uint8_t* data, size_t available, size_t length, envelope_view_t* view)
    int64_t envelope_expires_ms(const envelope_view_t*)
    uint8_t* envelope_put_bytes(uint8_t* out, uint32_t field, const uint8_t* data, size_t length)

cdef extern from "envelope/uuid7.h" nogil:
    enum:
        UUID_TEXT

    ctypedef struct uuid7_t:
        uint64_t milliseconds

    void uuid7_init(uuid7_t*)
    int uuid7_next(uuid7_t*, uint64_t now_ms)
    void uuid7_text(const uuid7_t*, uint8_t* out)
    uint64_t uuid7_now_ms()


cdef enum:
    MAX_TIME = 24               # a Timestamp as a field of the metadata: tag, length, two tagged varints


ctypedef struct head_t:
    uint8_t time[MAX_TIME]
    size_t time_length
    size_t metadata             # length of its body
    size_t value                # length of the payload as an Any


cdef class Writer:
    cdef:
        bytes _names            # fields 2 and 3 of the metadata, encoded
        readonly str topic
        readonly str namespace

    cdef size_t measure(self, head_t* head, int64_t published_ms, size_t tail, size_t parts, size_t type_url,
                        size_t payload) noexcept
    cdef uint8_t* put(self, uint8_t* out, const head_t* head, const uint8_t* message_id, const uint8_t* tail,
                      size_t tail_length, const uint8_t* parts, size_t parts_length, const uint8_t* type_url,
                      size_t type_url_length, size_t payload) noexcept


cdef class Scan:
    cdef:
        readonly bytes data
        envelope_view_t view


cdef int next_message_id(uint8_t* out, uint64_t milliseconds) except -1
