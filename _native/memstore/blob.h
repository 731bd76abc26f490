/* Refcounted immutable bytes: a stored value that a reply may hold, without a copy, while its key is overwritten.
 * Loop thread only. Any native module may ref and unref: the owner frees through its own function pointer. */
#ifndef PRISM_BLOB_H
#define PRISM_BLOB_H
#include <stddef.h>
#include <stdint.h>

struct blob;

/* First member of whatever allocated the blob; outlives every blob it made. */
typedef struct blob_owner {
    void (*release)(struct blob *);
} blob_owner_t;

typedef struct blob {
    uint32_t refs;
    uint32_t orphan; /* the owner's: nothing but readers holds it */
    size_t length;
    blob_owner_t *owner;
    uint8_t data[];
} blob_t;

static inline void blob_ref(blob_t *b) { b->refs++; }

static inline void blob_unref(blob_t *b) {
    if (--b->refs == 0) b->owner->release(b);
}
#endif
