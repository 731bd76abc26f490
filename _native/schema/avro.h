/* Whether bytes are one datum of a known Avro type: the walk behind `_native/schema/avro.pyx`.
 *
 * It says yes only where `prism_schema.avro.validate` finds nothing. */
#ifndef PRISM_SCHEMA_AVRO_H
#define PRISM_SCHEMA_AVRO_H
#include "grpc/protowire.h"

enum { AVRO_NULL, AVRO_BOOLEAN, AVRO_INT, AVRO_LONG, AVRO_BYTES, AVRO_STRING, AVRO_FIXED, AVRO_ENUM, AVRO_ARRAY, AVRO_MAP,
       AVRO_UNION, AVRO_RECORD };
enum { AVRO_MAX_DEPTH = 100 };

/* `size` is that of a fixed, the number of symbols, or the number of children, which begin at `first`. */
typedef struct {
    int32_t kind;
    int32_t size;
    int32_t first;
} avro_node_t;

typedef struct {
    const avro_node_t *nodes;
    const int32_t *children;
    int64_t length; /* of the payload: no block has more items */
} avro_walk_t;

static inline const uint8_t *avro_long(const uint8_t *at, const uint8_t *end, int64_t *out) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && at < end; shift += 7) {
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1) return NULL;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
            return at;
        }
    }
    return NULL;
}

static inline const uint8_t *avro_sized(const uint8_t *at, const uint8_t *end, int text) {
    int64_t length;
    at = avro_long(at, end, &length);
    if (at == NULL || length < 0 || length > end - at) return NULL;
    if (text && !proto_utf8((proto_bytes_t){at, (size_t)length})) return NULL;
    return at + length;
}

static const uint8_t *avro_datum(const avro_walk_t *walk, int32_t index, const uint8_t *at, const uint8_t *end, int depth);

static inline const uint8_t *avro_blocks(const avro_walk_t *walk, const avro_node_t *node, const uint8_t *at,
                                         const uint8_t *end, int depth) {
    int64_t count, size;
    int32_t item = walk->children[node->first];
    for (;;) {
        at = avro_long(at, end, &count);
        if (at == NULL || count == 0) return at;
        if (count < 0) {
            if (count == INT64_MIN || (at = avro_long(at, end, &size)) == NULL) return NULL;
            count = -count;
        }
        if (count > walk->length) return NULL;
        while (count-- > 0) {
            const uint8_t *before = at;
            if (node->kind == AVRO_MAP && (at = avro_sized(at, end, 1)) == NULL) return NULL;
            if ((at = avro_datum(walk, item, at, end, depth + 1)) == NULL) return NULL;
            if (at == before) break; /* items of no bytes: one is like all */
        }
    }
}

/* The position behind the datum; NULL when the bytes leave the type. */
static const uint8_t *avro_datum(const avro_walk_t *walk, int32_t index, const uint8_t *at, const uint8_t *end,
                                 int depth) {
    const avro_node_t *node = &walk->nodes[index];
    int64_t number;
    if (depth > AVRO_MAX_DEPTH) return NULL;
    switch (node->kind) {
    case AVRO_NULL:
        return at;
    case AVRO_BOOLEAN:
        return at < end && *at <= 1 ? at + 1 : NULL;
    case AVRO_INT:
        at = avro_long(at, end, &number);
        return at != NULL && number >= INT32_MIN && number <= INT32_MAX ? at : NULL;
    case AVRO_LONG:
        return avro_long(at, end, &number);
    case AVRO_BYTES:
        return avro_sized(at, end, 0);
    case AVRO_STRING:
        return avro_sized(at, end, 1);
    case AVRO_FIXED:
        return end - at >= node->size ? at + node->size : NULL;
    case AVRO_ENUM:
        at = avro_long(at, end, &number);
        return at != NULL && number >= 0 && number < node->size ? at : NULL;
    case AVRO_ARRAY:
    case AVRO_MAP:
        return avro_blocks(walk, node, at, end, depth);
    case AVRO_UNION:
        at = avro_long(at, end, &number);
        if (at == NULL || number < 0 || number >= node->size) return NULL;
        return avro_datum(walk, walk->children[node->first + number], at, end, depth + 1);
    default:
        for (int32_t i = 0; i < node->size && at != NULL; i++)
            at = avro_datum(walk, walk->children[node->first + i], at, end, depth + 1);
        return at;
    }
}

#endif
