/* Where the parts of a prism.envelope.v1.PrismEnvelope lie. Nothing is copied, and no byte of the payload is touched:
 * only the few in front of it that say how long it is.
 *
 * Fields that protobuf would merge (a part that occurs twice) make an envelope irregular: the protobuf runtime has to
 * bring it into order first. Readers keep what they do not know: they pass the bytes on as they are. */
#ifndef PRISM_ENVELOPE_WIRE_H
#define PRISM_ENVELOPE_WIRE_H
#include "grpc/protowire.h"

enum { /* field numbers of PrismEnvelope */
    ENVELOPE_VERSION = 1,
    ENVELOPE_METADATA = 2,
    ENVELOPE_PAYLOAD = 3,
    ENVELOPE_SECURITY = 4,
    ENVELOPE_OBSERVABILITY = 5,
    ENVELOPE_SCHEMA = 6,
    ENVELOPE_EXTENSIONS = 99,
    ENVELOPE_PARTS = 7
};
enum { ENVELOPE_OK = 0, ENVELOPE_MALFORMED = -1, ENVELOPE_IRREGULAR = -2 };

typedef struct {
    int32_t version;
    int32_t priority;
    int64_t ttl_seconds;
    int64_t published_seconds;
    int32_t published_nanos;
    uint32_t present; /* bit n: field n of the envelope */
    int extensions;   /* how many */
    int unknown;      /* fields that this version does not name */
    proto_bytes_t part[ENVELOPE_PARTS]; /* bodies of the fields 2 to 6, by number; that of 3 is the payload's value */
    proto_bytes_t type_url;
    proto_bytes_t message_id, topic, name_space, content_type, content_encoding, correlation_id, causality_parent;
} envelope_view_t;

static inline int envelope_text(proto_reader_t *r, proto_bytes_t *out) {
    return proto_length_delimited(r, out) || !proto_utf8(*out) ? -1 : 0;
}

static inline int envelope_timestamp(proto_bytes_t body, envelope_view_t *view) {
    proto_reader_t r = {body.data, body.data + body.length};
    uint32_t field;
    int type, more;
    uint64_t value;
    while ((more = proto_tag(&r, &field, &type)) == 1) {
        if (type == PROTO_VARINT && (field == 1 || field == 2)) {
            if (proto_varint(&r, 10, &value)) return -1;
            if (field == 1)
                view->published_seconds = (int64_t)value;
            else
                view->published_nanos = (int32_t)value;
        } else if (proto_skip(&r, field, type, 0)) {
            return -1;
        }
    }
    return more;
}

static inline int envelope_metadata(proto_bytes_t body, envelope_view_t *view) {
    proto_reader_t r = {body.data, body.data + body.length};
    proto_bytes_t *text, stamp;
    uint32_t field;
    int type, more;
    uint64_t value;
    while ((more = proto_tag(&r, &field, &type)) == 1) {
        text = NULL;
        switch (field) {
        case 1: text = &view->message_id; break;
        case 2: text = &view->topic; break;
        case 3: text = &view->name_space; break;
        case 5: text = &view->content_type; break;
        case 6: text = &view->content_encoding; break;
        case 9: text = &view->correlation_id; break;
        case 10: text = &view->causality_parent; break;
        default: break;
        }
        if (text && type == PROTO_LEN) {
            if (envelope_text(&r, text)) return -1;
        } else if (field == 4 && type == PROTO_LEN) {
            if (proto_length_delimited(&r, &stamp) || envelope_timestamp(stamp, view)) return -1;
        } else if ((field == 7 || field == 8) && type == PROTO_VARINT) {
            if (proto_varint(&r, 10, &value)) return -1;
            if (field == 7)
                view->priority = (int32_t)value;
            else
                view->ttl_seconds = (int64_t)value;
        } else if (proto_skip(&r, field, type, 0)) {
            return -1;
        }
    }
    return more;
}

/* The value of the google.protobuf.Any that begins at `r`, whose bytes may end later than `available` ones. */
static inline int envelope_payload(proto_reader_t *r, const uint8_t *whole_end, envelope_view_t *view) {
    uint32_t field;
    int type, more;
    uint64_t length;
    if (proto_varint(r, 5, &length) || length > INT32_MAX || length > (uint64_t)(whole_end - r->at)) return -1;
    const uint8_t *end = r->at + length;
    proto_reader_t inner = {r->at, end < r->end ? end : r->end};
    r->at = end;
    while ((more = proto_tag(&inner, &field, &type)) == 1) {
        if (field == 1 && type == PROTO_LEN) {
            if (envelope_text(&inner, &view->type_url)) return -1;
        } else if (field == 2 && type == PROTO_LEN) {
            if (proto_varint(&inner, 5, &length) || length > INT32_MAX || length > (uint64_t)(end - inner.at)) return -1;
            view->part[ENVELOPE_PAYLOAD].data = inner.at;
            view->part[ENVELOPE_PAYLOAD].length = (size_t)length;
            if (length > (uint64_t)(inner.end - inner.at)) return 0; /* cut off: the rest has not arrived */
            inner.at += length;
        } else if (proto_skip(&inner, field, type, 0)) {
            return -1;
        }
    }
    return more;
}

/* Scan `available` bytes of an envelope that has `length`. Fewer will do once they hold all that is before the payload,
 * if the payload comes last. */
static inline int envelope_scan(const uint8_t *data, size_t available, size_t length, envelope_view_t *view) {
    proto_reader_t r = {data, data + available};
    const uint8_t *whole_end = data + length;
    proto_bytes_t body;
    uint32_t field;
    int type, more = 0;
    uint64_t value;
    memset(view, 0, sizeof *view);
    while (r.at < r.end && (more = proto_tag(&r, &field, &type)) == 1) {
        if (type == PROTO_LEN && field >= ENVELOPE_METADATA && field <= ENVELOPE_SCHEMA) {
            if (view->present & 1u << field) return ENVELOPE_IRREGULAR;
            view->present |= 1u << field;
            if (field == ENVELOPE_PAYLOAD) {
                if (envelope_payload(&r, whole_end, view)) return ENVELOPE_MALFORMED;
                if (r.at > r.end) return ENVELOPE_OK;
                continue;
            }
            if (proto_length_delimited(&r, &view->part[field])) return ENVELOPE_MALFORMED;
            if (field == ENVELOPE_METADATA && envelope_metadata(view->part[field], view)) return ENVELOPE_MALFORMED;
        } else if (type == PROTO_LEN && field == ENVELOPE_EXTENSIONS) {
            if (proto_length_delimited(&r, &body)) return ENVELOPE_MALFORMED;
            view->extensions++;
        } else if (type == PROTO_VARINT && field == ENVELOPE_VERSION) {
            if (proto_varint(&r, 10, &value)) return ENVELOPE_MALFORMED;
            view->version = (int32_t)value;
            view->present |= 1u << ENVELOPE_VERSION;
        } else {
            if (proto_skip(&r, field, type, 0)) return ENVELOPE_MALFORMED;
            view->unknown++;
        }
    }
    return more < 0 ? ENVELOPE_MALFORMED : ENVELOPE_OK;
}

/* Milliseconds of the epoch after which the message is of no use; 0 = never. */
static inline int64_t envelope_expires_ms(const envelope_view_t *view) {
    if (view->ttl_seconds <= 0 || view->ttl_seconds > INT64_MAX / 4000) return 0;
    return (view->published_seconds + view->ttl_seconds) * 1000 + view->published_nanos / 1000000;
}

static inline uint8_t *envelope_put_bytes(uint8_t *out, uint32_t field, const uint8_t *data, size_t length) {
    out = proto_put_varint(out, (uint64_t)field << 3 | PROTO_LEN);
    out = proto_put_varint(out, length);
    memcpy(out, data, length);
    return out + length;
}
#endif
