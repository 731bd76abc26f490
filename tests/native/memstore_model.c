/* The memory store against an array, under the sanitizers, with allocations that fail: linked with the store's sources
 * and --wrap=slab_alloc. Arguments: seed, shape of the keys (0 to 2), one allocation in how many fails (0 = none). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memstore/store.h"
#include "memstore/slab.h"

enum { KEYS = 20000, STEPS = 150000, PHASE = 20000, WRITES = 10 };
#define SECOND ((int64_t)1000000000)
#define CHECK(condition) ((condition) ? (void)0 : fail(#condition, __LINE__))

static uint64_t state = 88172645463325252u, one_in;
static int64_t expiry[KEYS]; /* 0 = absent */
static int64_t now = SECOND;
static long refused;

static void fail(const char *what, int line) {
    fprintf(stderr, "line %d: %s\n", line, what);
    abort();
}

static uint64_t draw(uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

void *__real_slab_alloc(slabs_t *s, size_t n);
void *__wrap_slab_alloc(slabs_t *s, size_t n);
void *__wrap_slab_alloc(slabs_t *s, size_t n) { return one_in && draw(one_in) == 0 ? NULL : __real_slab_alloc(s, n); }

typedef struct {
    uint8_t bytes[400];
    size_t length;
} name_t;

/* Numbers; chains of keys that are prefixes of each other; short keys with zero bytes at their end. */
static name_t name(int i, int shape) {
    name_t k = {{0}, 0};
    if (shape == 0) k.length = (size_t)sprintf((char *)k.bytes, "key:%08d", i);
    if (shape == 1) {
        memset(k.bytes, 'p', (size_t)(i % 300));
        k.length = (size_t)(i % 300 + sprintf((char *)k.bytes + i % 300, "%d", i / 300));
    }
    if (shape == 2) {
        k.bytes[0] = (uint8_t)i;
        k.bytes[1] = (uint8_t)(i >> 8);
        k.length = 2 + (size_t)i % 3;
    }
    return k;
}

static int live(int i) { return expiry[i] > now; }

static void set(memstore_t *s, int i, const name_t *k) {
    uint8_t value[64] = {0};
    if (ms_set(s, k->bytes, k->length, value, draw(64), now) == MS_OK)
        expiry[i] = MS_NEVER;
    else
        refused++;
}

static void commit(memstore_t *s, int first, int shape) {
    ms_write_t writes[WRITES];
    name_t keys[WRITES];
    for (int w = 0; w < WRITES; w++) {
        keys[w] = name((first + w * 37) % KEYS, shape);
        writes[w] = (ms_write_t){.key = keys[w].bytes, .klen = keys[w].length, .value = keys[w].bytes, .vlen = draw(9)};
    }
    int done = ms_commit(s, NULL, 0, writes, WRITES, now) == MS_OK;
    refused += !done;
    for (int w = 0; w < WRITES; w++) {
        int i = (first + w * 37) % KEYS;
        if (done) expiry[i] = MS_NEVER;
        CHECK(ms_exists(s, keys[w].bytes, keys[w].length, now) == live(i));
    }
}

static void step(memstore_t *s, int number, int phase, int shape) {
    /* delete a share of keys at random, or nearly all of them in order: what thins out the index most */
    int i = phase == 2 ? number % KEYS : (int)draw(KEYS);
    uint64_t deletes = phase == 1 ? 80 : phase == 2 ? (i % 2000 ? 100 : 0) : 15, choice = draw(100);
    name_t k = name(i, shape);
    if (choice < deletes) {
        CHECK(ms_delete(s, k.bytes, k.length, now) == live(i));
        expiry[i] = 0;
    } else if (choice < 94) {
        set(s, i, &k);
    } else if (choice < 97) {
        int64_t at = now + (int64_t)draw((uint64_t)1 << (20 + draw(30)));
        CHECK(ms_expire(s, k.bytes, k.length, at, now) == live(i));
        if (live(i)) expiry[i] = at;
    } else {
        commit(s, i, shape);
    }
    if (draw(64) == 0) {
        now += (int64_t)draw(20000000);
        ms_tick(s, now, (int64_t)draw(50));
    }
    if (draw(20000) == 0) now += 3600 * SECOND * (int64_t)draw(400);
}

typedef struct {
    name_t last;
    long count;
} scanned_t;

static int visit(void *context, const uint8_t *key, size_t length, blob_t *value, int64_t expires_ns) {
    CHECK(expires_ns > now);
    scanned_t *c = context;
    size_t shorter = length < c->last.length ? length : c->last.length;
    int order = memcmp(c->last.bytes, key, shorter);
    CHECK(!c->count++ || order < 0 || (order == 0 && c->last.length < length));
    CHECK(value->refs == 1);
    memcpy(c->last.bytes, key, length);
    c->last.length = length;
    return 1;
}

static void compare(memstore_t *s) {
    scanned_t c = {{{0}, 0}, 0};
    name_t at = {{0}, 0};
    const uint8_t *last = NULL;
    size_t length = 0;
    while (!ms_scan(s, at.bytes, 0, last, length, 100, now, visit, &c, &last, &length)) {
        memcpy(at.bytes, last, length); /* borrowed: a writer may come now */
        last = at.bytes;
    }
    for (int i = 0; i < KEYS; i++) c.count -= live(i);
    CHECK(c.count == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    int shape = atoi(argv[2]), phase = 0;
    state ^= strtoull(argv[1], NULL, 10) * 0x9E3779B97F4A7C15u;
    memstore_t *s = ms_new(0, 0, 0);
    CHECK(s);
    one_in = strtoull(argv[3], NULL, 10);
    for (int number = 0; number < STEPS; number++) {
        if (number % PHASE == 0) phase = (int)draw(4);
        step(s, number, phase, shape);
        if (number % (PHASE / 4) == 0) compare(s);
    }
    compare(s);
    CHECK((refused > 0) == (one_in > 0));
    while (ms_clear(s, 100)) {}
    ms_stats_t stats;
    ms_stats(s, &stats);
    CHECK(stats.keys == 0 && stats.blobs == 0 && stats.timers == 0 && stats.bytes < 32 * 1024);
    ms_free(s);
    return 0;
}
