/* Whether bytes are a message of a known type: the walk behind `_native/schema/protobuf.pyx`.
 *
 * It says yes only where `prism_schema.protobuf.validate` finds nothing. A no may be too strict: the caller then asks
 * there, for the reasons. */
#ifndef PRISM_SCHEMA_PROTOBUF_H
#define PRISM_SCHEMA_PROTOBUF_H
#include "grpc/protowire.h"

enum { FIELD_PACKABLE = 1, FIELD_UTF8 = 2 };
enum { NO_INDEX = -1, DIRECT_FIELDS = 64 };

typedef struct {
    uint32_t number;
    uint8_t wire;
    uint8_t flags;
    int8_t required; /* its bit, or NO_INDEX */
    int32_t message; /* of a field that holds one */
    int32_t values, count; /* of an enum: where its sorted values begin, and how many there are; count 0 of others */
    uint8_t dense; /* the values are 0 to count - 1 */
} schema_field_t;

typedef struct {
    const schema_field_t *fields; /* by number */
    int32_t count;
    uint64_t required; /* bits of fields that have to be there */
    int16_t direct[DIRECT_FIELDS]; /* position of the field of a small number, or NO_INDEX */
} schema_message_t;

typedef struct {
    const schema_message_t *messages;
    const int32_t *values;
} schema_table_t;

static inline const schema_field_t *schema_field(const schema_message_t *message, uint32_t number) {
    if (number < DIRECT_FIELDS) return message->direct[number] < 0 ? NULL : &message->fields[message->direct[number]];
    int32_t low = 0, high = message->count;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (message->fields[middle].number < number) low = middle + 1;
        else high = middle;
    }
    return low < message->count && message->fields[low].number == number ? &message->fields[low] : NULL;
}

static inline int schema_enum(const schema_table_t *table, const schema_field_t *field, uint64_t value) {
    int32_t number = (int32_t)(uint32_t)value;
    if (field->dense) return number >= 0 && number < field->count;
    for (int32_t i = 0; i < field->count; i++)
        if (table->values[field->values + i] == number) return 1;
    return 0;
}

static inline int schema_packed(const schema_table_t *table, const schema_field_t *field, proto_bytes_t body) {
    proto_reader_t r = {body.data, body.data + body.length};
    uint64_t value;
    if (field->wire == PROTO_I64) return body.length % 8 == 0;
    if (field->wire == PROTO_I32) return body.length % 4 == 0;
    while (r.at < r.end) {
        if (proto_varint(&r, 10, &value)) return 0;
        if (field->count && !schema_enum(table, field, value)) return 0;
    }
    return 1;
}

static int schema_valid(const schema_table_t *table, int32_t index, const uint8_t *at, const uint8_t *end, int depth) {
    const schema_message_t *message = &table->messages[index];
    proto_reader_t r = {at, end};
    uint64_t seen = 0, value;
    uint32_t number;
    int wire, more;
    proto_bytes_t body;
    if (depth > PROTO_MAX_DEPTH) return 0;
    while ((more = proto_tag(&r, &number, &wire)) == 1) {
        const schema_field_t *field = schema_field(message, number);
        if (field == NULL) {
            if (proto_skip(&r, number, wire, 0)) return 0;
            continue;
        }
        if (field->required >= 0) seen |= 1ULL << field->required;
        if (wire == PROTO_LEN) {
            if (proto_length_delimited(&r, &body)) return 0;
            if (field->wire != PROTO_LEN) {
                if (!(field->flags & FIELD_PACKABLE) || !schema_packed(table, field, body)) return 0;
            } else if (field->message >= 0) {
                if (!schema_valid(table, field->message, body.data, body.data + body.length, depth + 1)) return 0;
            } else if ((field->flags & FIELD_UTF8) && !proto_utf8(body)) {
                return 0;
            }
        } else if (wire != field->wire) {
            return 0;
        } else if (wire == PROTO_VARINT) {
            if (proto_varint(&r, 10, &value)) return 0;
            if (field->count && !schema_enum(table, field, value)) return 0;
        } else if (proto_skip(&r, number, wire, 0)) {
            return 0;
        }
    }
    return more == 0 && (seen & message->required) == message->required;
}

#endif
