/* Cuts length-prefixed gRPC messages out of a byte stream. */
#ifndef PRISM_MESSAGES_H
#define PRISM_MESSAGES_H
#include "http2/buffers.h"

typedef struct {
    uint8_t prefix[5]; /* compressed flag, length */
    int prefix_length;
    size_t message_length;
    buffer_t message;
} assembler_t;

enum { ASSEMBLE_MORE = 0, ASSEMBLE_MESSAGE = 1, ASSEMBLE_TOO_LARGE = -1, ASSEMBLE_NO_MEMORY = -2 };

static inline size_t message_length_of(const uint8_t *prefix) {
    return (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
}

/* Take bytes until one message is complete (in `message`, until the next call) or they are used up. The buffer grows by
 * doubling as bytes arrive: an announced length, or tiny fragments, reserve nothing. */
static inline int assemble(assembler_t *a, const uint8_t **data, size_t *n, size_t max) {
    if (a->prefix_length == 5 && a->message.length == a->message_length) a->prefix_length = 0;
    if (a->prefix_length == 0) a->message.length = 0;
    if (a->prefix_length < 5) {
        size_t step = (size_t)(5 - a->prefix_length) < *n ? (size_t)(5 - a->prefix_length) : *n;
        memcpy(a->prefix + a->prefix_length, *data, step);
        a->prefix_length += (int)step;
        *data += step;
        *n -= step;
        if (a->prefix_length < 5) return ASSEMBLE_MORE;
        a->message_length = message_length_of(a->prefix);
        if (a->message_length > max) return ASSEMBLE_TOO_LARGE;
    }
    size_t step = a->message_length - a->message.length < *n ? a->message_length - a->message.length : *n;
    if (step && buffer_append(&a->message, *data, step)) return ASSEMBLE_NO_MEMORY;
    *data += step;
    *n -= step;
    return a->message.length == a->message_length ? ASSEMBLE_MESSAGE : ASSEMBLE_MORE;
}

/* Whether bytes of a message are missing. */
static inline int assembler_in_message(const assembler_t *a) {
    return a->prefix_length && !(a->prefix_length == 5 && a->message.length == a->message_length);
}
#endif
