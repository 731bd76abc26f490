/* Hash table by linear hashing: the table grows and shrinks by one bucket per write, so there is never a rehash to
 * catch up with, no second table, and no large allocation (buckets live in 4 KiB segments). */
#ifndef PRISM_MEMSTORE_TABLE_H
#define PRISM_MEMSTORE_TABLE_H
#include "memstore/entry.h"
#include "memstore/slab.h"

typedef struct {
    slabs_t *slabs;
    entry_t ***segments;
    size_t directory; /* segments there is room for */
    size_t buckets;   /* low <= buckets < 2 * low */
    size_t low;       /* a power of two */
    size_t count;
} table_t;

/* 0, or -1 without memory. */
int table_open(table_t *t, slabs_t *slabs);
/* The table must be empty. */
void table_close(table_t *t);
entry_t *table_find(const table_t *t, uint32_t hash, const uint8_t *key, size_t length);
/* The key must be absent. Never fails: without memory the chains just get longer. */
void table_insert(table_t *t, entry_t *e);
void table_remove(table_t *t, entry_t *e);
#endif
