#include "memstore/table.h"

#include <string.h>

enum { SEGMENT = 512, SEGMENT_BYTES = SEGMENT * sizeof(entry_t *), FIRST_DIRECTORY = 8 };

static inline entry_t **bucket_at(const table_t *t, size_t i) { return &t->segments[i / SEGMENT][i % SEGMENT]; }

static inline entry_t **bucket_of(const table_t *t, uint32_t hash) {
    size_t i = hash & (2 * t->low - 1);
    return bucket_at(t, i < t->buckets ? i : i - t->low);
}

static entry_t **segment_new(table_t *t) {
    entry_t **segment = slab_alloc(t->slabs, SEGMENT_BYTES);
    if (segment) memset(segment, 0, SEGMENT_BYTES);
    return segment;
}

int table_open(table_t *t, slabs_t *slabs) {
    t->slabs = slabs;
    t->directory = FIRST_DIRECTORY;
    t->buckets = t->low = SEGMENT;
    t->count = 0;
    t->segments = slab_alloc(slabs, FIRST_DIRECTORY * sizeof(entry_t **));
    if (!t->segments) return -1;
    t->segments[0] = segment_new(t);
    return t->segments[0] ? 0 : -1;
}

void table_close(table_t *t) {
    for (size_t i = 0; i < (t->buckets + SEGMENT - 1) / SEGMENT; i++) slab_free(t->slabs, t->segments[i], SEGMENT_BYTES);
    slab_free(t->slabs, t->segments, t->directory * sizeof(entry_t **));
}

entry_t *table_find(const table_t *t, uint32_t hash, const uint8_t *key, size_t length) {
    for (entry_t *e = *bucket_of(t, hash); e; e = e->chain)
        if (e->hash == hash && e->key.length == length && memcmp(e->key.bytes, key, length) == 0) return e;
    return NULL;
}

static int directory_grow(table_t *t) {
    size_t bytes = t->directory * sizeof(entry_t **);
    entry_t ***segments = slab_alloc(t->slabs, 2 * bytes);
    if (!segments) return -1;
    memcpy(segments, t->segments, bytes);
    slab_free(t->slabs, t->segments, bytes);
    t->segments = segments;
    t->directory *= 2;
    return 0;
}

/* Add bucket `buckets` and move into it what belongs there of the one bucket it splits. */
static void grow(table_t *t) {
    size_t added = t->buckets;
    if (added % SEGMENT == 0) {
        size_t i = added / SEGMENT;
        if (i == t->directory && directory_grow(t)) return;
        entry_t **segment = segment_new(t);
        if (!segment) return;
        t->segments[i] = segment;
    }
    entry_t **keep = bucket_at(t, added - t->low), **move = bucket_at(t, added), *e = *keep;
    for (; e; e = e->chain) {
        entry_t ***to = e->hash & t->low ? &move : &keep;
        **to = e;
        *to = &e->chain;
    }
    *keep = *move = NULL;
    if (++t->buckets == 2 * t->low) t->low *= 2;
}

/* The reverse of grow: the last bucket goes back to the one it was split from. */
static void shrink(table_t *t) {
    if (t->buckets == t->low) t->low /= 2;
    size_t last = --t->buckets;
    entry_t **tail = bucket_at(t, last - t->low);
    while (*tail) tail = &(*tail)->chain;
    *tail = *bucket_at(t, last);
    if (last % SEGMENT == 0) slab_free(t->slabs, t->segments[last / SEGMENT], SEGMENT_BYTES);
}

void table_insert(table_t *t, entry_t *e) {
    if (++t->count > t->buckets) grow(t);
    entry_t **bucket = bucket_of(t, e->hash);
    e->chain = *bucket;
    *bucket = e;
}

void table_remove(table_t *t, entry_t *e) {
    entry_t **link = bucket_of(t, e->hash);
    while (*link != e) link = &(*link)->chain;
    *link = e->chain;
    t->count--;
    /* Two a removal, so that buckets stay within twice the count all the way down. */
    for (int i = 0; i < 2 && t->buckets > SEGMENT && t->count < t->buckets / 2; i++) shrink(t);
}
