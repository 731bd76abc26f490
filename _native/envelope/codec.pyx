"""Writes and scans message envelopes (prism.envelope.v1), and makes message ids.

A `Writer` has what is constant for a (namespace, topic); per message there are the id, the time, the fields that a
message has of its own, already encoded, and the payload, which is written last. A `Scan` knows where the parts of an
envelope lie, and makes Python objects of them only when asked.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from prism_proxy._native.grpc.protowire cimport (
    PROTO_LEN,
    PROTO_VARINT,
    proto_bytes_t,
    proto_length_delimited,
    proto_put_varint,
    proto_reader_t,
    proto_skip,
    proto_tag,
    proto_utf8,
    proto_varint_size,
)

cdef uuid7_t ids
uuid7_init(&ids)


class MalformedEnvelopeError(ValueError):
    """Bytes that are no envelope."""


class IrregularEnvelopeError(ValueError):
    """An envelope with a part that occurs twice: protobuf merges them, a scan does not."""


cdef int next_message_id(uint8_t* out, uint64_t milliseconds) except -1:
    """Write the 36 characters of a new message id, made at this time. Each is greater than the one before."""
    if uuid7_next(&ids, milliseconds):
        raise OSError("the system gives no random bytes")
    uuid7_text(&ids, out)
    return 0


def new_message_id() -> str:
    cdef uint8_t text[UUID_TEXT]
    next_message_id(text, uuid7_now_ms())
    return PyUnicode_DecodeUTF8(<char*>text, UUID_TEXT, NULL)


def now_ms() -> int:
    """Epoch milliseconds, by the clock that message ids take."""
    return uuid7_now_ms()


cdef inline uint8_t* put_time(uint8_t* out, int64_t milliseconds) noexcept:
    """Field 4 of the metadata; a Timestamp leaves out what is 0."""
    cdef int64_t seconds = milliseconds // 1000
    cdef int64_t nanos
    cdef uint8_t* length = out + 1
    if seconds * 1000 > milliseconds:
        seconds -= 1
    nanos = (milliseconds - seconds * 1000) * 1000000
    out[0] = 4 << 3 | PROTO_LEN
    out += 2
    if seconds:
        out[0] = 1 << 3
        out = proto_put_varint(out + 1, <uint64_t>seconds)
    if nanos:
        out[0] = 2 << 3
        out = proto_put_varint(out + 1, <uint64_t>nanos)
    length[0] = <uint8_t>(out - length - 1)
    return out


@cython.final
cdef class Writer:
    """`encode(payload)` for one topic of a namespace."""

    def __cinit__(self, str namespace, str topic):
        cdef bytes names = namespace.encode(), topics = topic.encode()
        cdef bytes out = PyBytes_FromStringAndSize(NULL, len(names) + len(topics) + 22)
        cdef uint8_t* start = <uint8_t*>PyBytes_AS_STRING(out)
        cdef uint8_t* at = start
        if topics:
            at = envelope_put_bytes(at, 2, <const uint8_t*>PyBytes_AS_STRING(topics), len(topics))
        if names:
            at = envelope_put_bytes(at, 3, <const uint8_t*>PyBytes_AS_STRING(names), len(names))
        self._names = out[:at - start]
        self.topic = topic
        self.namespace = namespace

    cdef size_t measure(self, head_t* head, int64_t published_ms, size_t tail, size_t parts, size_t type_url,
                        size_t payload) noexcept:
        """The size of the envelope, exactly; `head` is what `put` needs."""
        head.time_length = put_time(head.time, published_ms) - head.time
        head.metadata = 2 + UUID_TEXT + <size_t>PyBytes_GET_SIZE(self._names) + head.time_length + tail
        head.value = 0
        if payload:
            head.value = 1 + proto_varint_size(payload) + payload
        if type_url:
            head.value += 1 + proto_varint_size(type_url) + type_url
        return (3 + proto_varint_size(head.metadata) + head.metadata + parts + 1 + proto_varint_size(head.value)
                + head.value)

    cdef uint8_t* put(self, uint8_t* out, const head_t* head, const uint8_t* message_id, const uint8_t* tail,
                      size_t tail_length, const uint8_t* parts, size_t parts_length, const uint8_t* type_url,
                      size_t type_url_length, size_t payload) noexcept:
        """Write all but the payload's bytes, which follow. `tail` holds the fields 5 to 10 of the metadata, `parts` the
        fields 4, 5, 6 and 99 of the envelope, encoded and in order."""
        cdef size_t names = PyBytes_GET_SIZE(self._names)
        out[0] = ENVELOPE_VERSION << 3 | PROTO_VARINT
        out[1] = 1
        out[2] = ENVELOPE_METADATA << 3 | PROTO_LEN
        out = proto_put_varint(out + 3, head.metadata)
        out[0] = 1 << 3 | PROTO_LEN
        out[1] = UUID_TEXT
        memcpy(out + 2, message_id, UUID_TEXT)
        out += 2 + UUID_TEXT
        memcpy(out, PyBytes_AS_STRING(self._names), names)
        memcpy(out + names, head.time, head.time_length)
        out += names + head.time_length
        memcpy(out, tail, tail_length)
        memcpy(out + tail_length, parts, parts_length)
        out += tail_length + parts_length
        out[0] = ENVELOPE_PAYLOAD << 3 | PROTO_LEN
        out = proto_put_varint(out + 1, head.value)
        if type_url_length:
            out = envelope_put_bytes(out, 1, type_url, type_url_length)
        if payload:
            out[0] = 2 << 3 | PROTO_LEN
            out = proto_put_varint(out + 1, payload)
        return out

    def encode(self, bytes payload not None, str message_id=None, int64_t published_ms=0, bytes tail not None=b"",
               bytes parts not None=b"", bytes type_url not None=b""):
        """An envelope. Without `message_id` it gets a new one, without `published_ms` the time of now. `tail` and
        `parts` are made by `prism_proxy.envelope`."""
        cdef uint8_t text[UUID_TEXT]
        cdef const uint8_t* given = text
        cdef bytes encoded, out
        cdef size_t length = PyBytes_GET_SIZE(payload)
        cdef head_t head
        cdef uint8_t* at
        if published_ms == 0:
            published_ms = uuid7_now_ms()
        if message_id is None:
            next_message_id(text, published_ms)
        else:
            encoded = message_id.encode()
            if PyBytes_GET_SIZE(encoded) != UUID_TEXT:
                raise ValueError("a message id is a UUID in its 36 characters")
            given = <const uint8_t*>PyBytes_AS_STRING(encoded)
        out = PyBytes_FromStringAndSize(NULL, self.measure(
            &head, published_ms, PyBytes_GET_SIZE(tail), PyBytes_GET_SIZE(parts), PyBytes_GET_SIZE(type_url), length))
        at = self.put(<uint8_t*>PyBytes_AS_STRING(out), &head, given,
                      <const uint8_t*>PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail),
                      <const uint8_t*>PyBytes_AS_STRING(parts), PyBytes_GET_SIZE(parts),
                      <const uint8_t*>PyBytes_AS_STRING(type_url), PyBytes_GET_SIZE(type_url), length)
        memcpy(at, PyBytes_AS_STRING(payload), length)
        return out


cdef inline str text_of(proto_bytes_t found):
    return PyUnicode_DecodeUTF8(<const char*>found.data, found.length, NULL) if found.length else ""


cdef inline bytes bytes_of(proto_bytes_t found):
    return PyBytes_FromStringAndSize(<const char*>found.data, found.length) if found.length else b""


@cython.final
@cython.freelist(64)
cdef class Scan:
    """Where the parts of the envelope `data` lie. Made by `scan`."""

    def __init__(self):
        raise TypeError("scan(data) makes these")

    @property
    def version(self):
        return self.view.version

    @property
    def message_id(self):
        return text_of(self.view.message_id)

    @property
    def topic(self):
        return text_of(self.view.topic)

    @property
    def namespace(self):
        return text_of(self.view.name_space)

    @property
    def published_ms(self):
        return self.view.published_seconds * 1000 + self.view.published_nanos // 1000000

    @property
    def expires_ms(self):
        """Epoch milliseconds; 0 = never."""
        return envelope_expires_ms(&self.view)

    @property
    def content_type(self):
        return text_of(self.view.content_type)

    @property
    def content_encoding(self):
        return text_of(self.view.content_encoding)

    @property
    def priority(self):
        """As it stands on the wire: 0 reads as 5."""
        return self.view.priority

    @property
    def ttl_seconds(self):
        return self.view.ttl_seconds

    @property
    def correlation_id(self):
        return text_of(self.view.correlation_id)

    @property
    def causality_parent(self):
        return text_of(self.view.causality_parent)

    @property
    def type_url(self):
        return text_of(self.view.type_url)

    @property
    def payload(self):
        """The value of the payload. Of an envelope that is cut off, what there is of it."""
        cdef proto_bytes_t found = self.view.part[ENVELOPE_PAYLOAD]
        cdef size_t there = 0
        if found.data != NULL:
            there = <const uint8_t*>PyBytes_AS_STRING(self.data) + PyBytes_GET_SIZE(self.data) - found.data
            found.length = min(found.length, there)
        return bytes_of(found)

    @property
    def payload_length(self):
        return self.view.part[ENVELOPE_PAYLOAD].length

    @property
    def unknown_fields(self):
        """How many fields the envelope has that this version does not name."""
        return self.view.unknown

    def has(self, int field):
        """Whether the envelope has its field 1 to 6."""
        return self.view.present >> field & 1 == 1

    def part(self, int field):
        """The body of the fields 2, 4, 5 or 6; None when absent."""
        if not 2 <= field <= 6 or field == ENVELOPE_PAYLOAD or not self.view.present >> field & 1:
            return None
        return bytes_of(self.view.part[field])

    def extensions(self):
        """The extensions as a dict; of a repeated key the last one counts."""
        cdef proto_reader_t r
        cdef proto_bytes_t body
        cdef uint32_t field
        cdef int type
        cdef dict found = {}
        if not self.view.extensions:
            return found
        r.at = <const uint8_t*>PyBytes_AS_STRING(self.data)
        r.end = r.at + PyBytes_GET_SIZE(self.data)
        while proto_tag(&r, &field, &type) == 1:
            if field == ENVELOPE_EXTENSIONS and type == PROTO_LEN:
                if proto_length_delimited(&r, &body):
                    break
                put_entry(found, body)
            elif proto_skip(&r, field, type, 0):
                break           # the payload, cut off
        return found


cdef Scan scanned(bytes data, size_t length):
    cdef Scan made = Scan.__new__(Scan)
    cdef int found = envelope_scan(
        <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), length, &made.view)
    if found == ENVELOPE_MALFORMED:
        raise MalformedEnvelopeError("these bytes are no envelope")
    if found == ENVELOPE_IRREGULAR:
        raise IrregularEnvelopeError("a part of the envelope occurs twice")
    made.data = data
    return made


def scan(bytes data not None):
    """The parts of an envelope. MalformedEnvelopeError, IrregularEnvelopeError."""
    return scanned(data, PyBytes_GET_SIZE(data))


def scan_beginning(bytes data not None, size_t length):
    """As `scan`, of the first bytes of an envelope that has `length` of them: they must reach to the payload."""
    return scanned(data, max(length, <size_t>PyBytes_GET_SIZE(data)))


cdef int put_entry(dict found, proto_bytes_t body) except -1:
    cdef proto_reader_t r
    cdef proto_bytes_t key, value
    cdef uint32_t field
    cdef int type, more
    r.at = body.data
    r.end = body.data + body.length
    key.data = value.data = body.data
    key.length = value.length = 0
    more = proto_tag(&r, &field, &type)
    while more == 1:
        if type == PROTO_LEN and field == 1:
            more = -1 if proto_length_delimited(&r, &key) or not proto_utf8(key) else 1
        elif type == PROTO_LEN and field == 2:
            more = -1 if proto_length_delimited(&r, &value) else 1
        else:
            more = -1 if proto_skip(&r, field, type, 0) else 1
        if more == 1:
            more = proto_tag(&r, &field, &type)
    if more < 0:
        raise MalformedEnvelopeError("an extension of the envelope is malformed")
    found[text_of(key)] = bytes_of(value)
    return 0


def fields(bytes data not None):
    """The top-level fields of a protobuf message as (number, bytes with tag) in the order they stand in."""
    cdef proto_reader_t r
    cdef const uint8_t* start
    cdef uint32_t field
    cdef int type, more
    cdef list found = []
    r.at = <const uint8_t*>PyBytes_AS_STRING(data)
    r.end = r.at + PyBytes_GET_SIZE(data)
    start = r.at
    more = proto_tag(&r, &field, &type)
    while more == 1:
        if proto_skip(&r, field, type, 0):
            more = -1
            break
        found.append((field, PyBytes_FromStringAndSize(<const char*>start, r.at - start)))
        start = r.at
        more = proto_tag(&r, &field, &type)
    if more < 0:
        raise MalformedEnvelopeError("these bytes are no protobuf message")
    return found
