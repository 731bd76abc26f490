/* Keys in bytewise order: a B+tree of 62-way nodes.
 *
 * A B+tree rather than a skip list, whose million-key insert is a dozen cache misses, and rather than a radix tree,
 * whose depth a caller controls (each key a prefix of the next). A node keeps, beside each key's pointer, the 8 bytes
 * that follow the prefix all its keys share, so a search mostly stays inside the node. Scans hold no position: they
 * seek from a key each time, so writers never wait and nothing is pinned. Sparse neighbours are merged on removal
 * where they fit well, and no leaf stays empty but that of an empty tree. Separators are the shortest that separate. */
#ifndef PRISM_MEMSTORE_ORDER_H
#define PRISM_MEMSTORE_ORDER_H
#include "memstore/entry.h"
#include "memstore/slab.h"

typedef struct node node_t;

typedef struct {
    slabs_t *slabs;
    node_t *root;
} order_t;

typedef struct {
    node_t *leaf;
    unsigned index;
} order_at_t;

/* 0, or -1 without memory. */
int order_open(order_t *o, slabs_t *slabs);
/* The tree must be empty. */
void order_close(order_t *o);
/* The key must be absent; its bytes stay where they are until removed. 0, or -1 without memory (nothing changed). */
int order_insert(order_t *o, skey_t *key);
/* The key must be present. Needs no memory. */
void order_remove(order_t *o, skey_t *key);
/* Before the first key >= the given one, or > it when `after`. Valid until the next insert or remove. */
order_at_t order_seek(const order_t *o, const uint8_t *key, size_t length, int after);
/* The key at the position, which moves on. NULL at the end. */
skey_t *order_next(order_at_t *at);
#endif
