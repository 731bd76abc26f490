/* The in-memory key-value store: a hash table, an ordered index, a timing wheel and a byte account over one entry
 * per key. Loop thread only; no call blocks, and none but a commit does more than a bounded amount of work beside
 * copying its own value. Time is monotonic nanoseconds given by the caller: the store reads no clock.
 *
 * Expired keys are invisible at once and freed by ms_tick. `max_bytes` is charged what keys, values, indexes and the
 * hash table really occupy, but not values that only replies hold, which their readers answer for; index nodes and
 * hash segments may carry the sum a few KiB over it once. At the bound a write that needs more is refused, or evicts the least recently used keys: at
 * most MS_EVICT_PER_WRITE at once, beyond which it may run a sixteenth of max_bytes over, until ms_tick catches up.
 * Keys that were deleted around survivors leave holes: what is mapped never exceeds twice max_bytes and 32 MiB, room for
 * one whole change of value sizes, beside what replies hold; a write that would need more is refused. */
#ifndef PRISM_MEMSTORE_H
#define PRISM_MEMSTORE_H
#include <stddef.h>
#include <stdint.h>

#include "memstore/blob.h"

#define MS_NEVER INT64_MAX
#define MS_MAX_KEY (64 * 1024)
#define MS_EVICT_PER_WRITE 512

enum { MS_OK = 0, MS_FULL = 1, MS_CONFLICT = 2 };

typedef struct memstore memstore_t;

typedef struct {
    uint64_t keys;     /* expired ones not yet freed included */
    uint64_t bytes;    /* charged against max_bytes */
    uint64_t reserved; /* mapped from the system */
    uint64_t evicted, expired, refused;
    uint64_t timers; /* keys with an expiry */
    uint64_t blobs;  /* values alive, stored or held by replies */
    uint64_t pinned; /* bytes of values that only replies hold; not in `bytes` */
} ms_stats_t;

/* max_bytes and max_keys: 0 = no bound. NULL without memory. */
memstore_t *ms_new(uint64_t max_bytes, uint64_t max_keys, int evict_lru);
/* New bounds. What is over them stays, or goes by ms_tick where the store evicts. */
void ms_resize(memstore_t *s, uint64_t max_bytes, uint64_t max_keys);
/* Values still held outlive this call; the last one released frees the rest. Unbounded work: ms_clear first. */
void ms_free(memstore_t *s);
/* Remove up to `budget` keys. True while some are left. */
int ms_clear(memstore_t *s, int64_t budget);
void ms_stats(const memstore_t *s, ms_stats_t *out);
/* Is the smallest write of a new key refused, or another size about to be? Never in a store that evicts. */
int ms_is_full(const memstore_t *s);

/* Call `changed` for every key written, expired, evicted or deleted from now on, and for every new expiry; NULL ends
 * it. It must not call the store. */
typedef void (*ms_changed_t)(void *watcher, const uint8_t *key, size_t klen);
void ms_watch(memstore_t *s, ms_changed_t changed, void *watcher);

/* Borrowed until the next call that writes; NULL if absent; blob_ref it to keep it. */
blob_t *ms_get(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns);
/* Clears expiry. MS_OK or MS_FULL. klen at most MS_MAX_KEY. */
int ms_set(memstore_t *s, const uint8_t *key, size_t klen, const uint8_t *value, size_t vlen, int64_t now_ns);
int ms_set_until(memstore_t *s, const uint8_t *key, size_t klen, const uint8_t *value, size_t vlen,
                 int64_t expires_ns, int64_t now_ns);
/* 1 existed, 0 not. */
int ms_delete(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns);
int ms_exists(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns);

/* MS_NEVER removes the expiry; a time not after now deletes. 1 existed, 0 not. Neither is a write to versions. */
int ms_expire(memstore_t *s, const uint8_t *key, size_t klen, int64_t expires_ns, int64_t now_ns);
/* The expiry, MS_NEVER, or -1 if absent. */
int64_t ms_expires(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns);
/* Free expired keys, move timers, evict what is over the bound: at most `budget` units, about 1 us each.
 * True when the budget ran out, so more may be left. */
int ms_tick(memstore_t *s, int64_t now_ns, int64_t budget);

/* Version of the last write of the key, 0 if absent; versions never repeat within a store. */
uint64_t ms_version(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns);

typedef struct {
    const uint8_t *key;
    size_t klen;
    uint64_t version;
} ms_read_t;

typedef struct {
    const uint8_t *key;
    size_t klen;
    const uint8_t *value;
    size_t vlen;
    /* scratch of ms_commit */
    struct entry *entry;
    blob_t *blob;
    int added;
} ms_write_t;

/* All writes, or none: MS_CONFLICT when a read's version is no longer current, MS_FULL when there is no room for all.
 * The keys of the writes must be distinct. Clears expiry. About 1 us per read and 2 us per write, in one piece. */
int ms_commit(memstore_t *s, const ms_read_t *reads, size_t nreads, ms_write_t *writes, size_t nwrites, int64_t now_ns);

/* Visit live keys with the prefix that come after `after` (NULL = from the first), in bytewise order. Stops after
 * `work` keys examined, or at a key that `visit` did not take (it returned 0; it must take the first). True when the end was reached; otherwise *last and *last_length
 * tell the key to go on after (borrowed until the next write). `visit` must not call the store. */
typedef int (*ms_visit_t)(void *context, const uint8_t *key, size_t klen, blob_t *value, int64_t expires_ns);
int ms_scan(memstore_t *s, const uint8_t *prefix, size_t plen, const uint8_t *after, size_t alen, int64_t work,
            int64_t now_ns, ms_visit_t visit, void *context, const uint8_t **last, size_t *last_length);
#endif
