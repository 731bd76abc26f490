/* The in-memory key-value store.
 *
 * A hash table (chained, grown and shrunk a few buckets per operation) finds entries by key; a skip list keeps them in
 * bytewise order for scans; a hierarchical timing wheel finds those that expire; a list keeps them by last use where
 * eviction asks for it. All of it is intrusive: one allocation per entry holds the key and every link, one per value.
 *
 * A skip list rather than a tree: scans resume by key after any number of changes, deletions need no rebalancing, and an
 * insertion of a million-key store costs one to two microseconds, paid by new keys only. Point operations never touch it.
 *
 * Single-threaded: every call comes from one event loop. Times are monotonic nanoseconds given by the caller. Nothing
 * here does unbounded work: growing, expiring and freeing happen in slices, by the operations and by ms_tick.
 *
 * Memory: `bytes` counts what malloc gives for entries, values and the table, values still referenced by replies
 * included. The account outlives the store (ms_free) until the last blob is gone.
 */
#ifndef PRISM_MEMSTORE_H
#define PRISM_MEMSTORE_H
#include "blob.h"
#include <stddef.h>
#include <stdint.h>

typedef struct memstore memstore_t;

enum { MS_OK = 0, MS_FULL = -1, MS_CONFLICT = -2 };
enum { MS_MAX_LEVEL = 16, MS_SCAN_STEPS = 1024 };

typedef struct {
    uint64_t keys, expired, evicted, refused;
    int64_t bytes;
} ms_counters_t;

typedef struct {
    const uint8_t *key;
    size_t key_length;
    blob_t *value; /* borrowed */
} ms_item_t;

typedef struct {
    const uint8_t *key;
    size_t key_length;
    uint64_t version; /* 0: the key was absent */
} ms_read_t;

typedef struct {
    const uint8_t *key, *value;
    size_t key_length, value_length;
} ms_write_t;

/* max_bytes counts keys, values and overhead; max_keys 0 is unbounded; lru evicts instead of refusing. NULL: no memory. */
memstore_t *ms_new(int64_t max_bytes, uint64_t max_keys, int lru, int64_t now_ns, const uint8_t seed[16]);
/* Frees everything but blobs still referenced. */
void ms_free(memstore_t *s);
ms_counters_t ms_counters(const memstore_t *s);
int ms_is_full(const memstore_t *s);

/* The value, borrowed until the next call on this store (blob_ref keeps it), or NULL. */
blob_t *ms_get(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns);
blob_t *ms_get_versioned(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns, uint64_t *version);
int ms_exists(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns);
/* Stores a value and clears the expiry. MS_OK, or MS_FULL and nothing changed. */
int ms_set(memstore_t *s, const uint8_t *key, size_t key_length, const uint8_t *value, size_t value_length, int64_t now_ns);
/* 1 when the key existed. */
int ms_delete(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns);
/* Expiry at `deadline_ns`; a deadline not after now deletes. 1 when the key existed. */
int ms_expire(memstore_t *s, const uint8_t *key, size_t key_length, int64_t deadline_ns, int64_t now_ns);
/* 1 when an expiry was removed. */
int ms_persist(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns);
/* The deadline, 0 without one, -1 without key. */
int64_t ms_deadline(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns);

/* Applies all writes, or none: MS_CONFLICT when a key no longer has the version read, MS_FULL. Keys of writes differ. */
int ms_commit(memstore_t *s, const ms_read_t *reads, size_t read_count, const ms_write_t *writes, size_t write_count,
              int64_t now_ns);

/* One page in bytewise order: up to `most` items with `prefix`, after the key `after` (NULL: from the start). Visits at
 * most MS_SCAN_STEPS entries. Returns the number of items; `*last` is the entry key the page ended at and `*more` tells
 * whether the scan goes on after it. */
size_t ms_scan(memstore_t *s, const uint8_t *prefix, size_t prefix_length, const uint8_t *after, size_t after_length,
               int64_t now_ns, ms_item_t *items, size_t most, ms_item_t *last, int *more);

/* Up to `budget` units of expiring, moving timers and rehashing. 1 when more work is due. */
int ms_tick(memstore_t *s, int64_t now_ns, int budget);
#endif
