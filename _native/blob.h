/* A counted, immutable run of bytes: a value of the memory store, shared with the replies that still send it. */
#ifndef PRISM_BLOB_H
#define PRISM_BLOB_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct blob {
    uint32_t refs;
    int64_t *account; /* bytes held by the store that made it; reduced when the last reference goes */
    size_t length;
    uint8_t data[];
} blob_t;

/* Bytes a blob of `length` really takes from malloc. */
static inline int64_t blob_cost(size_t length) { return (int64_t)((sizeof(blob_t) + length + 8 + 15) & ~(size_t)15); }

static inline blob_t *blob_new(const uint8_t *data, size_t length, int64_t *account) {
    blob_t *b = malloc(sizeof(blob_t) + length);
    if (!b) return NULL;
    b->refs = 1;
    b->account = account;
    b->length = length;
    if (length) memcpy(b->data, data, length);
    *account += blob_cost(length);
    return b;
}

static inline blob_t *blob_ref(blob_t *b) {
    b->refs++;
    return b;
}

static inline void blob_unref(blob_t *b) {
    if (--b->refs == 0) {
        *b->account -= blob_cost(b->length);
        free(b);
    }
}
#endif
