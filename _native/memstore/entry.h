/* One key of the store, linked into the hash table, the ordered index, the timing wheel and the recency list. */
#ifndef PRISM_MEMSTORE_ENTRY_H
#define PRISM_MEMSTORE_ENTRY_H
#include <stddef.h>
#include <stdint.h>

#include "memstore/blob.h"

#define NEVER INT64_MAX

typedef struct skey {
    uint32_t length;
    uint8_t bytes[];
} skey_t;

typedef struct entry {
    struct entry *chain; /* next in the hash bucket */
    blob_t *value;
    uint64_t version;
    struct entry *newer, *older;   /* recency, only where the store evicts */
    struct entry *timer_next;      /* wheel slot, only while expires_ns is not NEVER */
    struct entry **timer_link;     /* what points at this entry in its slot */
    int64_t expires_ns;            /* monotonic; NEVER */
    uint32_t hash;
    skey_t key; /* last: its bytes follow */
} entry_t;

#define ENTRY_OF(key_pointer) ((entry_t *)((uint8_t *)(key_pointer) - offsetof(entry_t, key)))

static inline size_t entry_size(size_t key_length) { return offsetof(entry_t, key) + sizeof(skey_t) + key_length; }
#endif
