/* A reply message framed once, with its prefix, and borrowed by every stream that sends it. Loop thread only. */
#ifndef PRISM_FRAMED_H
#define PRISM_FRAMED_H
#include "http2/buffers.h"

typedef struct framed {
    uint32_t refs;
    size_t length; /* prefix included */
    uint8_t data[];
} framed_t;

/* Room for a message of `n` bytes behind its prefix, with one reference. NULL without memory. */
static inline framed_t *framed_room(size_t n) {
    framed_t *f = malloc(sizeof(framed_t) + 5 + n);
    if (!f) return NULL;
    f->refs = 1;
    f->length = 5 + n;
    f->data[0] = 0;
    for (int i = 0; i < 4; i++) f->data[1 + i] = (uint8_t)(n >> (24 - 8 * i));
    return f;
}

static inline framed_t *framed_new(const uint8_t *message, size_t n) {
    framed_t *f = framed_room(n);
    if (f && n) memcpy(f->data + 5, message, n);
    return f;
}

static inline void framed_unref(void *framed) {
    framed_t *f = framed;
    if (--f->refs == 0) free(f);
}

/* A chunk that holds a reference until it is sent or dropped. NULL without memory. */
static inline chunk_t *framed_chunk(framed_t *f) {
    chunk_t *c = chunk_borrow(f->data, f->length, f, framed_unref);
    if (c) f->refs++;
    return c;
}
#endif
