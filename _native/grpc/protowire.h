/* A strict reader of protobuf wire format, for native handlers that look at a few fields of a request.
 *
 * It accepts exactly what the protobuf runtime accepts: unknown fields and fields of an unexpected wire type are skipped,
 * later occurrences win, groups must match, strings must be valid UTF-8. Nothing is copied. */
#ifndef PRISM_PROTOWIRE_H
#define PRISM_PROTOWIRE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PROTO_VARINT = 0, PROTO_I64 = 1, PROTO_LEN = 2, PROTO_SGROUP = 3, PROTO_EGROUP = 4, PROTO_I32 = 5 };
enum { PROTO_MAX_DEPTH = 100 };

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} proto_reader_t;

typedef struct {
    const uint8_t *data;
    size_t length;
} proto_bytes_t;

/* 0, or -1 when truncated or longer than `max_bytes`. */
static inline int proto_varint(proto_reader_t *r, int max_bytes, uint64_t *out) {
    uint64_t value = 0;
    for (int i = 0; i < max_bytes; i++) {
        if (r->at == r->end) return -1;
        uint8_t byte = *r->at++;
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            if (i == 9 && byte > 1) return -1;
            *out = value;
            return 0;
        }
    }
    return -1;
}

/* Next tag: 1, 0 at the end, or -1 when malformed. */
static inline int proto_tag(proto_reader_t *r, uint32_t *field, int *wire_type) {
    uint64_t tag;
    if (r->at == r->end) return 0;
    if (proto_varint(r, 5, &tag) || tag > UINT32_MAX || tag < 8) return -1;
    *field = (uint32_t)(tag >> 3);
    *wire_type = (int)(tag & 7);
    return 1;
}

static inline int proto_length_delimited(proto_reader_t *r, proto_bytes_t *out) {
    uint64_t length;
    if (proto_varint(r, 5, &length) || length > INT32_MAX || length > (uint64_t)(r->end - r->at)) return -1;
    out->data = r->at;
    out->length = (size_t)length;
    r->at += length;
    return 0;
}

static inline int proto_skip(proto_reader_t *r, uint32_t field, int wire_type, int depth) {
    uint64_t ignored;
    proto_bytes_t bytes;
    uint32_t inner;
    int inner_type, more;
    switch (wire_type) {
    case PROTO_VARINT:
        return proto_varint(r, 10, &ignored);
    case PROTO_I64:
        if (r->end - r->at < 8) return -1;
        r->at += 8;
        return 0;
    case PROTO_I32:
        if (r->end - r->at < 4) return -1;
        r->at += 4;
        return 0;
    case PROTO_LEN:
        return proto_length_delimited(r, &bytes);
    case PROTO_SGROUP:
        if (depth >= PROTO_MAX_DEPTH) return -1;
        while ((more = proto_tag(r, &inner, &inner_type)) == 1) {
            if (inner_type == PROTO_EGROUP) return inner == field ? 0 : -1;
            if (proto_skip(r, inner, inner_type, depth + 1)) return -1;
        }
        return -1;
    default:
        return -1;
    }
}

/* 1 when the bytes are well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF). */
static inline int proto_utf8(proto_bytes_t text) {
    const uint8_t *p = text.data, *end = p + text.length;
    while (p < end) {
        uint64_t eight;
        while (end - p >= 8 && (memcpy(&eight, p, 8), (eight & 0x8080808080808080ULL) == 0)) p += 8;
        if (p == end) return 1;
        uint8_t c = *p;
        if (c < 0x80) {
            p++;
            continue;
        }
        int n = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || end - p <= n) return 0;
        uint8_t second = p[1];
        if ((second & 0xC0) != 0x80) return 0;
        if ((c == 0xE0 && second < 0xA0) || (c == 0xED && second > 0x9F) || (c == 0xF0 && second < 0x90) ||
            (c == 0xF4 && second > 0x8F))
            return 0;
        for (int i = 2; i <= n; i++)
            if ((p[i] & 0xC0) != 0x80) return 0;
        p += n + 1;
    }
    return 1;
}

/* Bytes a varint takes. */
static inline int proto_varint_size(uint64_t value) {
    int n = 1;
    while (value >= 0x80) {
        value >>= 7;
        n++;
    }
    return n;
}

static inline uint8_t *proto_put_varint(uint8_t *out, uint64_t value) {
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}
#endif
