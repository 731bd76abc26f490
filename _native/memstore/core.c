#include "memstore/store.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "memstore/entry.h"
#include "memstore/order.h"
#include "memstore/slab.h"
#include "memstore/table.h"
#include "memstore/wheel.h"
#include "memstore/siphash.h"

enum {
    EXPIRE_BEFORE_REFUSING = 64, /* units of expiry a write at the bound does before it gives up or evicts */
    BYTES_PER_UNIT = 64 * 1024,  /* freeing a value costs one unit of budget for each of these */
    HEADROOM = 16 << 20          /* more than one slab of every size class */
};

struct memstore {
    blob_owner_t owner; /* first: a blob finds its store through it */
    slabs_t slabs;
    table_t table;
    order_t order;
    wheel_t wheel;
    entry_t *newest, *oldest;
    uint64_t seed[2];
    uint64_t max_bytes, max_keys;
    uint64_t version, evicted, expired, refused, blobs;
    uint64_t pinned; /* bytes of values that only replies hold: their readers' burden, not that of the store's bound */
    int evict_lru, closed;
    ms_changed_t changed; /* NULL while nobody watches */
    void *watcher;
};

/* ---- values ---- */

static size_t blob_size(size_t length) { return sizeof(blob_t) + length; }

static void destroy(memstore_t *s) {
    slab_close(&s->slabs);
    munmap(s, sizeof(*s));
}

static void pin(memstore_t *s, int64_t change) {
    s->pinned += (uint64_t)change;
    if (s->slabs.limit) s->slabs.limit += (uint64_t)change;
}

static void blob_release(blob_t *b) {
    memstore_t *s = (memstore_t *)b->owner;
    if (b->orphan) pin(s, -(int64_t)slab_rounded(blob_size(b->length)));
    slab_free(&s->slabs, b, blob_size(b->length));
    if (--s->blobs == 0 && s->closed) destroy(s);
}

static blob_t *blob_new(memstore_t *s, const uint8_t *bytes, size_t n) {
    blob_t *b = n > SIZE_MAX / 2 ? NULL : slab_alloc(&s->slabs, blob_size(n));
    if (!b) return NULL;
    b->refs = 1;
    b->orphan = 0;
    b->length = n;
    b->owner = &s->owner;
    if (n) memcpy(b->data, bytes, n);
    s->blobs++;
    return b;
}

/* ---- entries ---- */

static inline uint32_t hash_of(const memstore_t *s, const uint8_t *key, size_t klen) {
    return (uint32_t)siphash13(s->seed, key, klen);
}

static void recency_remove(memstore_t *s, entry_t *e) {
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
}

static void recency_add(memstore_t *s, entry_t *e) {
    e->newer = NULL;
    e->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = e;
    s->newest = e;
}

static inline void touch(memstore_t *s, entry_t *e) {
    if (!s->evict_lru || s->newest == e) return;
    recency_remove(s, e);
    recency_add(s, e);
}

static void set_expiry(memstore_t *s, entry_t *e, int64_t expires_ns) {
    if (e->expires_ns != NEVER) wheel_remove(&s->wheel, e);
    e->expires_ns = expires_ns;
    if (expires_ns != NEVER) wheel_add(&s->wheel, e);
}

/* The store gives up a value. Replies may hold it for as long as their readers take. */
static void value_drop(memstore_t *s, blob_t *b) {
    if (b->refs > 1) {
        b->orphan = 1;
        pin(s, (int64_t)slab_rounded(blob_size(b->length)));
    }
    blob_unref(b);
}

/* A key that is not yet linked anywhere; takes over the blob. */
static entry_t *entry_new(memstore_t *s, uint32_t hash, const uint8_t *key, size_t klen, blob_t *value) {
    entry_t *e = slab_alloc(&s->slabs, entry_size(klen));
    if (!e) return NULL;
    e->value = value;
    e->version = 0;
    e->expires_ns = NEVER;
    e->hash = hash;
    e->key.length = (uint32_t)klen;
    memcpy(e->key.bytes, key, klen);
    return e;
}

static void entry_free(memstore_t *s, entry_t *e) {
    value_drop(s, e->value);
    slab_free(&s->slabs, e, entry_size(e->key.length));
}

/* 0, or -1 without memory for an index node. */
static int entry_link(memstore_t *s, entry_t *e) {
    if (order_insert(&s->order, &e->key)) return -1;
    table_insert(&s->table, e);
    if (s->evict_lru) recency_add(s, e);
    return 0;
}

static inline void tell(const memstore_t *s, const entry_t *e) {
    if (__builtin_expect(s->changed != NULL, 0)) s->changed(s->watcher, e->key.bytes, e->key.length);
}

static void entry_drop(memstore_t *s, entry_t *e) {
    tell(s, e);
    if (e->expires_ns != NEVER) wheel_remove(&s->wheel, e);
    if (s->evict_lru) recency_remove(s, e);
    table_remove(&s->table, e);
    order_remove(&s->order, &e->key);
    entry_free(s, e);
}

/* The live entry of a key; one that has expired is freed on sight. */
static inline entry_t *find(memstore_t *s, uint32_t hash, const uint8_t *key, size_t klen, int64_t now_ns) {
    entry_t *e = table_find(&s->table, hash, key, klen);
    if (e && e->expires_ns <= now_ns) {
        s->expired++;
        entry_drop(s, e);
        return NULL;
    }
    return e;
}

static inline entry_t *look_up(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns) {
    return find(s, hash_of(s, key, klen), key, klen, now_ns);
}

/* ---- room ---- */

static inline uint64_t bytes_used(const memstore_t *s) { return s->slabs.used - s->pinned + sizeof(*s); }

static inline int over(const memstore_t *s, int64_t grow, size_t keys, uint64_t allowance) {
    return (s->max_bytes && grow > 0 && bytes_used(s) + (uint64_t)grow > s->max_bytes + allowance) ||
           (s->max_keys && keys && s->table.count + keys > s->max_keys);
}

/* Survivors scattered over many slabs keep close to all the memory mapped that the store may map. */
static int strained(const memstore_t *s) { return s->slabs.limit && s->slabs.reserved > s->slabs.limit - HEADROOM; }

/* Over a bound: by the allowance of writes, or because the bound is new. */
static int beyond(const memstore_t *s) {
    return (s->max_bytes && bytes_used(s) > s->max_bytes) || (s->max_keys && s->table.count > s->max_keys);
}

static void evict_oldest(memstore_t *s) {
    entry_drop(s, s->oldest);
    s->evicted++;
}

/* Make room for `grow` more bytes and `keys` more keys, never evicting the `kept` most recently used ones. */
static int make_room(memstore_t *s, int64_t grow, size_t keys, size_t kept) {
    if (!over(s, grow, keys, 0)) return MS_OK;
    int hopeless = (s->max_bytes && grow > 0 && (uint64_t)grow + sizeof(*s) > s->max_bytes) ||
                   (s->max_keys && keys + kept > s->max_keys);
    if (s->evict_lru && !hopeless) {
        for (size_t left = MS_EVICT_PER_WRITE + keys; left && s->table.count > kept; left--) {
            evict_oldest(s);
            if (!over(s, grow, keys, 0)) return MS_OK;
        }
        if (!over(s, grow, keys, s->max_bytes / 16)) return MS_OK;
    }
    s->refused++;
    return MS_FULL;
}

/* Free expired keys within the budget; returns what is left of it. */
static int64_t expire(memstore_t *s, int64_t now_ns, int64_t budget) {
    entry_t *e;
    while (budget > 0 && (e = wheel_pop(&s->wheel, now_ns, &budget))) {
        budget -= 1 + (int64_t)(e->value->length / BYTES_PER_UNIT);
        e->expires_ns = NEVER; /* off the wheel already */
        s->expired++;
        entry_drop(s, e);
    }
    return budget;
}

/* Free some expired keys before a write at the bound looks for room: they count until freed. */
static void expire_before(memstore_t *s, int64_t now_ns, int64_t grow, size_t keys) {
    if (over(s, grow, keys, 0)) expire(s, now_ns, EXPIRE_BEFORE_REFUSING);
}

/* ---- life ---- */

memstore_t *ms_new(uint64_t max_bytes, uint64_t max_keys, int evict_lru) {
    memstore_t *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) return NULL;
    s->owner.release = blob_release;
    ms_resize(s, max_bytes, max_keys);
    s->evict_lru = evict_lru;
    if (getrandom(s->seed, sizeof(s->seed), 0) != (ssize_t)sizeof(s->seed) || table_open(&s->table, &s->slabs) ||
        order_open(&s->order, &s->slabs)) {
        munmap(s, sizeof(*s)); /* what was allocated is at most one slab of a process that has no memory left */
        return NULL;
    }
    return s;
}

void ms_resize(memstore_t *s, uint64_t max_bytes, uint64_t max_keys) {
    s->slabs.limit = max_bytes ? 2 * (max_bytes + HEADROOM) - sizeof(*s) + s->pinned : 0;
    s->max_bytes = max_bytes;
    s->max_keys = max_keys;
}

void ms_watch(memstore_t *s, ms_changed_t changed, void *watcher) {
    s->changed = changed;
    s->watcher = watcher;
}

int ms_clear(memstore_t *s, int64_t budget) {
    while (s->table.count && budget > 0) {
        order_at_t at = order_seek(&s->order, (const uint8_t *)"", 0, 0);
        entry_t *e = ENTRY_OF(order_next(&at));
        budget -= 1 + (int64_t)(e->value->length / BYTES_PER_UNIT);
        entry_drop(s, e);
    }
    return s->table.count != 0;
}

void ms_free(memstore_t *s) {
    while (ms_clear(s, INT32_MAX)) {}
    order_close(&s->order);
    table_close(&s->table);
    s->closed = 1;
    if (s->blobs == 0) destroy(s);
}

void ms_stats(const memstore_t *s, ms_stats_t *out) {
    *out = (ms_stats_t){.keys = s->table.count, .bytes = bytes_used(s), .reserved = s->slabs.reserved + sizeof(*s),
                        .evicted = s->evicted, .expired = s->expired, .refused = s->refused,
                        .timers = s->wheel.count, .blobs = s->blobs, .pinned = s->pinned};
}

int ms_is_full(const memstore_t *s) {
    if (s->evict_lru) return 0;
    return over(s, (int64_t)(slab_rounded(entry_size(1)) + slab_rounded(blob_size(0))), 1, 0) || strained(s);
}

/* ---- single keys ---- */

blob_t *ms_get(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns) {
    entry_t *e = look_up(s, key, klen, now_ns);
    if (!e) return NULL;
    touch(s, e);
    return e->value;
}

int ms_exists(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns) {
    return look_up(s, key, klen, now_ns) != NULL;
}

int ms_delete(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns) {
    entry_t *e = look_up(s, key, klen, now_ns);
    if (e) entry_drop(s, e);
    return e != NULL;
}

static int add(memstore_t *s, uint32_t hash, const uint8_t *key, size_t klen, const uint8_t *value, size_t vlen,
               int64_t expires_ns, int64_t now_ns) {
    int64_t grow = (int64_t)(slab_rounded(entry_size(klen)) + slab_rounded(blob_size(vlen)));
    expire_before(s, now_ns, grow, 1);
    if (make_room(s, grow, 1, 0)) return MS_FULL;
    blob_t *blob = blob_new(s, value, vlen);
    entry_t *e = blob ? entry_new(s, hash, key, klen, blob) : NULL;
    if (!e || entry_link(s, e)) {
        if (e)
            entry_free(s, e);
        else if (blob)
            blob_unref(blob);
        s->refused++;
        return MS_FULL;
    }
    e->version = ++s->version;
    set_expiry(s, e, expires_ns);
    tell(s, e);
    return MS_OK;
}

/* Bytes an overwrite adds to what is counted. */
static int64_t growth(const entry_t *e, size_t vlen) {
    return (int64_t)slab_rounded(blob_size(vlen)) - (int64_t)slab_rounded(blob_size(e->value->length));
}

static int replace(memstore_t *s, entry_t *e, const uint8_t *value, size_t vlen, int64_t now_ns) {
    int64_t grow = growth(e, vlen);
    touch(s, e);
    if (grow == 0 && e->value->refs == 1) {
        e->value->length = vlen; /* rounds equally, so freeing it later finds the right class */
        if (vlen) memcpy(e->value->data, value, vlen);
        return MS_OK;
    }
    expire_before(s, now_ns, grow, 0); /* e itself is live at now_ns */
    if (make_room(s, grow, 0, 1)) return MS_FULL;
    blob_t *blob = blob_new(s, value, vlen);
    if (!blob) {
        s->refused++;
        return MS_FULL;
    }
    value_drop(s, e->value);
    e->value = blob;
    return MS_OK;
}

int ms_set_until(memstore_t *s, const uint8_t *key, size_t klen, const uint8_t *value, size_t vlen,
                 int64_t expires_ns, int64_t now_ns) {
    uint32_t hash = hash_of(s, key, klen);
    entry_t *e = find(s, hash, key, klen, now_ns);
    if (!e) return add(s, hash, key, klen, value, vlen, expires_ns, now_ns);
    if (replace(s, e, value, vlen, now_ns)) return MS_FULL;
    e->version = ++s->version;
    if (e->expires_ns != expires_ns) set_expiry(s, e, expires_ns);
    tell(s, e);
    return MS_OK;
}

int ms_set(memstore_t *s, const uint8_t *key, size_t klen, const uint8_t *value, size_t vlen, int64_t now_ns) {
    return ms_set_until(s, key, klen, value, vlen, NEVER, now_ns);
}

/* ---- expiry ---- */

int ms_expire(memstore_t *s, const uint8_t *key, size_t klen, int64_t expires_ns, int64_t now_ns) {
    entry_t *e = look_up(s, key, klen, now_ns);
    if (!e) return 0;
    if (expires_ns <= now_ns) {
        entry_drop(s, e);
    } else {
        set_expiry(s, e, expires_ns);
        tell(s, e);
    }
    return 1;
}

int64_t ms_expires(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns) {
    entry_t *e = look_up(s, key, klen, now_ns);
    return e ? e->expires_ns : -1;
}

int ms_tick(memstore_t *s, int64_t now_ns, int64_t budget) {
    budget = expire(s, now_ns, budget);
    if (!s->evict_lru) return budget <= 0;
    for (; budget > 0 && s->oldest && (beyond(s) || strained(s)); budget--) evict_oldest(s);
    return budget <= 0;
}

/* ---- transactions ---- */

uint64_t ms_version(memstore_t *s, const uint8_t *key, size_t klen, int64_t now_ns) {
    entry_t *e = look_up(s, key, klen, now_ns);
    return e ? e->version : 0;
}

static void commit_undo(memstore_t *s, ms_write_t *writes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (writes[i].added)
            entry_drop(s, writes[i].entry);
        else
            blob_unref(writes[i].blob);
    }
}

/* Allocate the value, and link a new entry where the key is absent: all that can fail. */
static int commit_stage(memstore_t *s, ms_write_t *w) {
    w->added = 0;
    w->blob = blob_new(s, w->value, w->vlen);
    if (!w->blob) return -1;
    if (w->entry) return 0;
    w->entry = entry_new(s, hash_of(s, w->key, w->klen), w->key, w->klen, w->blob);
    if (!w->entry) {
        blob_unref(w->blob);
        return -1;
    }
    if (entry_link(s, w->entry)) {
        entry_free(s, w->entry);
        return -1;
    }
    w->added = 1;
    return 0;
}

/* Room for all writes; finds the entries to overwrite. */
static int commit_room(memstore_t *s, ms_write_t *writes, size_t n, int64_t now_ns) {
    int64_t grow = 0;
    size_t present = 0;
    for (size_t i = 0; i < n; i++) {
        ms_write_t *w = &writes[i];
        w->entry = look_up(s, w->key, w->klen, now_ns);
        if (w->entry) {
            present++;
            touch(s, w->entry);
            grow += growth(w->entry, w->vlen);
        } else {
            grow += (int64_t)(slab_rounded(entry_size(w->klen)) + slab_rounded(blob_size(w->vlen)));
        }
    }
    expire_before(s, now_ns, grow, n - present);
    return make_room(s, grow, n - present, present);
}

int ms_commit(memstore_t *s, const ms_read_t *reads, size_t nreads, ms_write_t *writes, size_t nwrites, int64_t now_ns) {
    for (size_t i = 0; i < nreads; i++)
        if (ms_version(s, reads[i].key, reads[i].klen, now_ns) != reads[i].version) return MS_CONFLICT;
    if (commit_room(s, writes, nwrites, now_ns)) return MS_FULL;
    for (size_t i = 0; i < nwrites; i++)
        if (commit_stage(s, &writes[i])) {
            commit_undo(s, writes, i);
            s->refused++;
            return MS_FULL;
        }
    for (size_t i = 0; i < nwrites; i++) {
        entry_t *e = writes[i].entry;
        if (!writes[i].added) {
            value_drop(s, e->value);
            e->value = writes[i].blob;
            set_expiry(s, e, NEVER);
        }
        e->version = ++s->version;
        tell(s, e);
    }
    return MS_OK;
}

/* ---- scans ---- */

static int has_prefix(const skey_t *key, const uint8_t *prefix, size_t plen) {
    return key->length >= plen && memcmp(key->bytes, prefix, plen) == 0;
}

int ms_scan(memstore_t *s, const uint8_t *prefix, size_t plen, const uint8_t *after, size_t alen, int64_t work,
            int64_t now_ns, ms_visit_t visit, void *context, const uint8_t **last, size_t *last_length) {
    size_t shared = alen < plen ? alen : plen;
    int r = after ? memcmp(after, prefix, shared) : -1;
    int resumes = r > 0 || (after && r == 0 && alen >= plen);
    order_at_t at = resumes ? order_seek(&s->order, after, alen, 1) : order_seek(&s->order, prefix, plen, 0);
    *last = after;
    *last_length = alen;
    do { /* one key at least, so that a caller makes progress */
        skey_t *key = order_next(&at);
        if (!key || !has_prefix(key, prefix, plen)) return 1;
        const entry_t *e = ENTRY_OF(key);
        if (e->expires_ns > now_ns && !visit(context, key->bytes, key->length, e->value, e->expires_ns)) return 0;
        *last = key->bytes;
        *last_length = key->length;
    } while (--work > 0);
    return 0;
}
