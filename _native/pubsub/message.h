/* A PublishRequest as native code takes it, and the Message that subscribers get, written once.
 *
 * `publish_scan` accepts the ordinary request alone: what has rules of its own (metadata that Prism gives a meaning,
 * odd keys, repeated keys) is for the servicer, which also makes the errors. It must not accept what that refuses. */
#ifndef PRISM_PUBSUB_MESSAGE_H
#define PRISM_PUBSUB_MESSAGE_H
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "envelope/framed.h"
#include "envelope/uuid7.h"
#include "grpc/protowire.h"

enum { PUBLISH_ENTRIES = 16, PUBLISH_METADATA_BYTES = 8 * 1024, MESSAGE_STAMP = 24, TRACE_TEXT = 32 };

typedef struct {
    proto_bytes_t topic, payload;
    proto_bytes_t entry[PUBLISH_ENTRIES]; /* of the metadata, as they stand in the request */
    proto_bytes_t key[PUBLISH_ENTRIES], value[PUBLISH_ENTRIES];
    int entries;
    size_t entry_bytes; /* of all entries as fields of a Message */
} publish_request_t;

static inline int message_begins(proto_bytes_t text, const char *lower, size_t n) { /* whatever the case */
    if (text.length < n) return 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = text.data[i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != (uint8_t)lower[i]) return 0;
    }
    return 1;
}

static inline int message_has_control(proto_bytes_t text) { /* C0, DEL, and C1 in UTF-8 */
    for (size_t i = 0; i < text.length; i++) {
        uint8_t c = text.data[i];
        if (c < 0x20 || c == 0x7F) return 1;
        if (c == 0xC2 && i + 1 < text.length && text.data[i + 1] < 0xA0) return 1;
    }
    return 0;
}

/* One entry: a key of the caller's own, in ASCII, and a value. 0, or -1. */
static inline int publish_scan_entry(proto_bytes_t body, proto_bytes_t *key, proto_bytes_t *value, size_t *bytes) {
    proto_reader_t r = {body.data, body.data + body.length};
    uint32_t field, before = 0;
    int type, more;
    key->data = value->data = body.data;
    key->length = value->length = 0;
    while ((more = proto_tag(&r, &field, &type)) == 1) {
        if (type != PROTO_LEN || field <= before || field > 2) return -1;
        if (proto_length_delimited(&r, field == 1 ? key : value)) return -1;
        before = field;
    }
    if (more || key->length == 0 || !proto_utf8(*value)) return -1;
    if (message_has_control(*key) || message_has_control(*value)) return -1;
    for (size_t i = 0; i < key->length; i++)
        if (key->data[i] >= 0x80) return -1;
    if (message_begins(*key, "prism-", 6) || message_begins(*key, "x-prism-", 8) || message_begins(*key, "nats-", 5))
        return -1;
    *bytes += key->length + value->length;
    return 0;
}

/* One more entry of the metadata. 0, or -1. */
static inline int publish_add_entry(publish_request_t *out, proto_bytes_t found, size_t *bytes) {
    int at = out->entries;
    if (at == PUBLISH_ENTRIES || publish_scan_entry(found, &out->key[at], &out->value[at], bytes)) return -1;
    for (int i = 0; i < at; i++)
        if (out->key[i].length == out->key[at].length &&
            memcmp(out->key[i].data, out->key[at].data, out->key[at].length) == 0)
            return -1;
    out->entry[at] = found;
    out->entries++;
    out->entry_bytes += 1 + (size_t)proto_varint_size(found.length) + found.length;
    return 0;
}

/* 0 when the request is ordinary. Nothing is copied. */
static inline int publish_scan(const uint8_t *data, size_t n, publish_request_t *out) {
    proto_reader_t r = {data, data + n};
    proto_bytes_t found;
    uint32_t field;
    size_t bytes = 0;
    int type, more;
    out->topic.data = out->payload.data = data;
    out->topic.length = out->payload.length = 0;
    out->entries = 0;
    out->entry_bytes = 0;
    while ((more = proto_tag(&r, &field, &type)) == 1) {
        if (type != PROTO_LEN || field > 3) {
            if (proto_skip(&r, field, type, 0)) return -1;
            continue;
        }
        if (proto_length_delimited(&r, &found)) return -1;
        if (field == 1) out->topic = found;
        else if (field == 2) out->payload = found;
        else if (publish_add_entry(out, found, &bytes)) return -1;
    }
    return more || bytes > PUBLISH_METADATA_BYTES ? -1 : 0;
}

/* The time in RFC 3339, to the millisecond: 2026-12-01T03:51:09.123Z. */
static inline void message_stamp(int64_t milliseconds, uint8_t *out) {
    time_t seconds = (time_t)(milliseconds / 1000);
    unsigned rest = (unsigned)(milliseconds % 1000);
    struct tm t;
    gmtime_r(&seconds, &t);
    unsigned parts[6] = {(unsigned)t.tm_year + 1900, (unsigned)t.tm_mon + 1, (unsigned)t.tm_mday,
                         (unsigned)t.tm_hour, (unsigned)t.tm_min, (unsigned)t.tm_sec};
    static const char between[6] = {'-', '-', 'T', ':', ':', '.'};
    uint8_t *at = out;
    for (int i = 0; i < 6; i++) {
        if (i == 0) *at++ = (uint8_t)('0' + parts[i] / 1000), *at++ = (uint8_t)('0' + parts[i] / 100 % 10);
        *at++ = (uint8_t)('0' + parts[i] / 10 % 10);
        *at++ = (uint8_t)('0' + parts[i] % 10);
        *at++ = (uint8_t)between[i];
    }
    *at++ = (uint8_t)('0' + rest / 100);
    *at++ = (uint8_t)('0' + rest / 10 % 10);
    *at++ = (uint8_t)('0' + rest % 10);
    *at = 'Z';
}

/* The last stamp, as most messages share theirs with others. */
typedef struct {
    int64_t milliseconds;
    uint8_t text[MESSAGE_STAMP];
} message_clock_t;

static inline const uint8_t *message_clock(message_clock_t *clock, int64_t milliseconds) {
    if (clock->milliseconds != milliseconds) {
        message_stamp(milliseconds, clock->text);
        clock->milliseconds = milliseconds;
    }
    return clock->text;
}

/* The caller's metadata as extensions of an envelope: each key behind `x-meta-`. NULL when they do not fit. */
static inline uint8_t *message_extensions(const publish_request_t *request, uint8_t *out, const uint8_t *end) {
    static const char prefix[] = "x-meta-";
    for (int i = 0; i < request->entries; i++) {
        proto_bytes_t key = request->key[i], value = request->value[i];
        size_t name = sizeof prefix - 1 + key.length;
        size_t body = 2 + (size_t)proto_varint_size(name) + name;
        body += (size_t)proto_varint_size(value.length) + value.length;
        if (body + 16 > (size_t)(end - out)) return NULL;
        *out++ = 0x9A; /* field 99 */
        *out++ = 0x06;
        out = proto_put_varint(out, body);
        *out++ = 1 << 3 | 2;
        out = proto_put_varint(out, name);
        memcpy(out, prefix, sizeof prefix - 1);
        memcpy(out + sizeof prefix - 1, key.data, key.length);
        out += name;
        *out++ = 2 << 3 | 2;
        out = proto_put_varint(out, value.length);
        memcpy(out, value.data, value.length);
        out += value.length;
    }
    return out;
}

#define MESSAGE_FIELD(field) ((uint8_t)((field) << 3 | 2))
static const uint8_t MESSAGE_ENCODING[] = "\x1a\x16\x0a\x0eprism-encoding\x12\x04none"; /* each is a whole entry */
static const uint8_t MESSAGE_PUBLISHED[] = "\x1a\x2e\x0a\x12prism-published-at\x12\x18";
static const uint8_t MESSAGE_DECLARED[] = "\x1a\x30\x0a\x14X-Prism-Published-At\x12\x18";
static const uint8_t MESSAGE_TRACE[] = "\x1a\x32\x0a\x0eprism-trace-id\x12\x20";

static inline uint8_t *message_put(uint8_t *out, const void *data, size_t n) {
    memcpy(out, data, n);
    return out + n;
}

static inline uint8_t *message_put_field(uint8_t *out, int field, proto_bytes_t value) {
    *out = MESSAGE_FIELD(field);
    out = proto_put_varint(out + 1, value.length);
    return message_put(out, value.data, value.length);
}

/* The Message of a request, framed. `trace` has TRACE_TEXT characters, or is NULL. `declared` are entries that all
 * messages of a namespace with a schema have, with the time besides. NULL without memory. */
static inline framed_t *message_framed(const publish_request_t *request, const uint8_t *id, int64_t milliseconds,
                                       const uint8_t *stamp, const uint8_t *trace, proto_bytes_t declared) {
    size_t n = 1 + (size_t)proto_varint_size(request->topic.length) + request->topic.length;
    if (request->payload.length) n += 1 + (size_t)proto_varint_size(request->payload.length) + request->payload.length;
    n += request->entry_bytes + sizeof MESSAGE_ENCODING - 1 + sizeof MESSAGE_PUBLISHED - 1 + MESSAGE_STAMP;
    if (trace) n += sizeof MESSAGE_TRACE - 1 + TRACE_TEXT;
    if (declared.length) n += declared.length + sizeof MESSAGE_DECLARED - 1 + MESSAGE_STAMP;
    n += 2 + UUID_TEXT + 1 + (size_t)proto_varint_size((uint64_t)milliseconds);
    framed_t *framed = framed_room(n);
    if (!framed) return NULL;
    uint8_t *out = framed->data + 5;
    out = message_put_field(out, 1, request->topic);
    if (request->payload.length) out = message_put_field(out, 2, request->payload);
    for (int i = 0; i < request->entries; i++) out = message_put_field(out, 3, request->entry[i]);
    out = message_put(out, MESSAGE_ENCODING, sizeof MESSAGE_ENCODING - 1);
    out = message_put(out, MESSAGE_PUBLISHED, sizeof MESSAGE_PUBLISHED - 1);
    out = message_put(out, stamp, MESSAGE_STAMP);
    if (trace) {
        out = message_put(out, MESSAGE_TRACE, sizeof MESSAGE_TRACE - 1);
        out = message_put(out, trace, TRACE_TEXT);
    }
    if (declared.length) {
        out = message_put(out, declared.data, declared.length);
        out = message_put(out, MESSAGE_DECLARED, sizeof MESSAGE_DECLARED - 1);
        out = message_put(out, stamp, MESSAGE_STAMP);
    }
    *out++ = MESSAGE_FIELD(4);
    *out++ = UUID_TEXT;
    out = message_put(out, id, UUID_TEXT);
    *out++ = 5 << 3;
    proto_put_varint(out, (uint64_t)milliseconds);
    return framed;
}
#endif
