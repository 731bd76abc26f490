/* Requests of queues as native code takes them, and a QueueMessage but for what differs at each delivery. */
#ifndef PRISM_QUEUE_MESSAGE_H
#define PRISM_QUEUE_MESSAGE_H
#include "pubsub/message.h"

enum { QUEUE_DEFAULT_PRIORITY = 5, QUEUE_MOST_PRIORITY = 10 };

/* An EnqueueItem that is ordinary: without delay. 0, or -1. Nothing is copied. */
static inline int queue_item_scan(proto_bytes_t item, publish_request_t *out, int *priority) {
    proto_reader_t r = {item.data, item.data + item.length};
    proto_bytes_t found;
    uint32_t field;
    uint64_t number;
    size_t bytes = 0;
    int type, more;
    out->topic.data = out->payload.data = item.data;
    out->topic.length = out->payload.length = 0;
    out->entries = 0;
    out->entry_bytes = 0;
    *priority = QUEUE_DEFAULT_PRIORITY;
    while ((more = proto_tag(&r, &field, &type)) == 1) {
        if (type == PROTO_VARINT && field >= 3 && field <= 5) {
            if (field != 3 || proto_varint(&r, 10, &number) || number > QUEUE_MOST_PRIORITY) return -1;
            *priority = number ? (int)number : QUEUE_DEFAULT_PRIORITY;
        } else if (type != PROTO_LEN || field > 2) {
            if (proto_skip(&r, field, type, 0)) return -1;
        } else {
            if (proto_length_delimited(&r, &found)) return -1;
            if (field == 1) out->payload = found;
            else if (publish_add_entry(out, found, &bytes)) return -1;
        }
    }
    return more || bytes > PUBLISH_METADATA_BYTES ? -1 : 0;
}

/* Bytes of the QueueMessage of a request without receive_count and receipt. */
static inline size_t queue_body_size(const publish_request_t *request, int64_t milliseconds, int traced) {
    size_t n = 2 + UUID_TEXT + request->entry_bytes;
    if (request->payload.length) n += 1 + (size_t)proto_varint_size(request->payload.length) + request->payload.length;
    n += sizeof MESSAGE_ENCODING - 1 + sizeof MESSAGE_PUBLISHED - 1 + MESSAGE_STAMP;
    if (traced) n += sizeof MESSAGE_TRACE - 1 + TRACE_TEXT;
    return n + 1 + (size_t)proto_varint_size((uint64_t)milliseconds) + 2;
}

static inline void queue_body_put(uint8_t *out, const publish_request_t *request, const uint8_t *id,
                                  int64_t milliseconds, const uint8_t *stamp, const uint8_t *trace, int priority) {
    *out++ = MESSAGE_FIELD(1);
    *out++ = UUID_TEXT;
    out = message_put(out, id, UUID_TEXT);
    if (request->payload.length) out = message_put_field(out, 2, request->payload);
    for (int i = 0; i < request->entries; i++) out = message_put_field(out, 3, request->entry[i]);
    out = message_put(out, MESSAGE_ENCODING, sizeof MESSAGE_ENCODING - 1);
    out = message_put(out, MESSAGE_PUBLISHED, sizeof MESSAGE_PUBLISHED - 1);
    out = message_put(out, stamp, MESSAGE_STAMP);
    if (trace) {
        out = message_put(out, MESSAGE_TRACE, sizeof MESSAGE_TRACE - 1);
        out = message_put(out, trace, TRACE_TEXT);
    }
    *out++ = 6 << 3;
    out = proto_put_varint(out, (uint64_t)milliseconds);
    *out++ = 7 << 3;
    *out = (uint8_t)priority;
}
#endif
