/* The layout of an entry and of the store, shared by the files of the memory store and by nobody else. */
#ifndef PRISM_MEMSTORE_ENTRY_H
#define PRISM_MEMSTORE_ENTRY_H
#include "memstore.h"

enum { WHEEL_BITS = 8, WHEEL_SLOTS = 1 << WHEEL_BITS, WHEEL_LEVELS = 4 };

typedef struct entry {
    struct entry *hash_next;
    struct entry *wheel_next, **wheel_slot; /* wheel_slot points at what points here; NULL when not in the wheel */
    struct entry *used_next, *used_previous;
    blob_t *value;
    uint64_t hash, version;
    int64_t deadline_ns; /* 0: none */
    uint32_t key_length;
    uint8_t levels;
    /* followed by: entry_t *forward[levels]; uint8_t key[key_length] */
} entry_t;

static inline entry_t **entry_forward(const entry_t *e) { return (entry_t **)(e + 1); }
static inline const uint8_t *entry_key(const entry_t *e) { return (const uint8_t *)(entry_forward(e) + e->levels); }

typedef struct {
    entry_t **buckets;
    uint64_t mask; /* number of buckets - 1 */
} table_t;

struct memstore {
    table_t table, old; /* while growing or shrinking, buckets below `moved` of `old` are empty */
    uint64_t moved;
    int64_t *account;
    int64_t max_bytes;
    uint64_t max_keys, version, random, seed[2];
    ms_counters_t counters;
    int lru;
    entry_t *most_recent, *least_recent;
    entry_t *head[MS_MAX_LEVEL]; /* of the skip list */
    entry_t *wheel[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t wheel_tick; /* everything due before it is out of the wheel */
    entry_t *due;        /* taken out of the wheel, not yet expired */
};

/* memstore_order.c */
uint8_t order_level(memstore_t *s);
void order_insert(memstore_t *s, entry_t *e);
void order_remove(memstore_t *s, entry_t *e);
entry_t *order_seek(memstore_t *s, const uint8_t *key, size_t length, int after);

/* memstore_wheel.c */
void wheel_start(memstore_t *s, int64_t now_ns);
void wheel_add(memstore_t *s, entry_t *e);
void wheel_remove(entry_t *e);
int wheel_advance(memstore_t *s, int64_t now_ns, int *budget);

/* memstore_table.c */
void entry_drop(memstore_t *s, entry_t *e);
#endif
