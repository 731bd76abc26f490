/* The memory store: hash table, accounting, and the operations. See memstore.h. */
#include "memstore_entry.h"

enum { FIRST_BUCKETS = 1024, MOVES_PER_OPERATION = 4, EVICTIONS_PER_OPERATION = 4096 };

/* --- SipHash-1-3: keyed, so that nobody can make keys collide on purpose ------------------------------------------ */

static inline uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

#define SIP_ROUND                                                                                                       \
    v0 += v1, v1 = rotate(v1, 13) ^ v0, v0 = rotate(v0, 32), v2 += v3, v3 = rotate(v3, 16) ^ v2, v0 += v3,             \
        v3 = rotate(v3, 21) ^ v0, v2 += v1, v1 = rotate(v1, 17) ^ v2, v2 = rotate(v2, 32)

static uint64_t hash_key(const memstore_t *s, const uint8_t *key, size_t length) {
    uint64_t v0 = s->seed[0] ^ 0x736f6d6570736575ULL, v1 = s->seed[1] ^ 0x646f72616e646f6dULL;
    uint64_t v2 = s->seed[0] ^ 0x6c7967656e657261ULL, v3 = s->seed[1] ^ 0x7465646279746573ULL;
    uint64_t word, tail = (uint64_t)length << 56;
    size_t whole = length & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&word, key + i, 8);
        v3 ^= word;
        SIP_ROUND;
        v0 ^= word;
    }
    for (size_t i = whole; i < length; i++) tail |= (uint64_t)key[i] << (8 * (i - whole));
    v3 ^= tail;
    SIP_ROUND;
    v0 ^= tail;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

/* --- table --------------------------------------------------------------------------------------------------------- */

static int table_open(memstore_t *s, table_t *t, uint64_t buckets) {
    /* calloc of this size maps fresh zero pages: nothing is touched until it is used. */
    t->buckets = calloc(buckets, sizeof(entry_t *));
    if (!t->buckets) return -1;
    t->mask = buckets - 1;
    *s->account += (int64_t)(buckets * sizeof(entry_t *));
    return 0;
}

static void table_close(memstore_t *s, table_t *t) {
    if (!t->buckets) return;
    *s->account -= (int64_t)((t->mask + 1) * sizeof(entry_t *));
    free(t->buckets);
    t->buckets = NULL;
}

/* Move a few buckets of the old table; 1 when some are left. */
static int rehash_some(memstore_t *s, int buckets) {
    if (!s->old.buckets) return 0;
    while (buckets-- > 0 && s->moved <= s->old.mask) {
        entry_t *e = s->old.buckets[s->moved];
        s->old.buckets[s->moved++] = NULL;
        while (e) {
            entry_t *next = e->hash_next;
            entry_t **bucket = &s->table.buckets[e->hash & s->table.mask];
            e->hash_next = *bucket;
            *bucket = e;
            e = next;
        }
    }
    if (s->moved <= s->old.mask) return 1;
    table_close(s, &s->old);
    return 0;
}

static void resize_if_due(memstore_t *s) {
    uint64_t buckets = s->table.mask + 1, wanted = buckets;
    if (s->old.buckets) return;
    if (s->counters.keys > buckets) wanted = buckets * 2;
    else if (buckets > FIRST_BUCKETS && s->counters.keys < buckets / 8) wanted = buckets / 2;
    if (wanted == buckets) return;
    table_t next;
    if (table_open(s, &next, wanted)) return; /* longer chains are slower, not wrong */
    s->old = s->table;
    s->table = next;
    s->moved = 0;
}

static entry_t **find_link(memstore_t *s, const uint8_t *key, size_t length, uint64_t hash) {
    rehash_some(s, MOVES_PER_OPERATION);
    for (int part = 0; part < 2; part++) {
        table_t *t = part ? &s->old : &s->table;
        if (!t->buckets) continue;
        entry_t **link = &t->buckets[hash & t->mask];
        for (entry_t *e; (e = *link) != NULL; link = &e->hash_next)
            if (e->hash == hash && e->key_length == length && memcmp(entry_key(e), key, length) == 0) return link;
    }
    return NULL;
}

/* --- entries ------------------------------------------------------------------------------------------------------- */

static size_t entry_size(size_t key_length, int levels) { return sizeof(entry_t) + (size_t)levels * sizeof(entry_t *) + key_length; }

static int64_t entry_cost(size_t key_length, int levels) { return (int64_t)((entry_size(key_length, levels) + 8 + 15) & ~(size_t)15); }

static void used_unlink(memstore_t *s, entry_t *e) {
    *(e->used_previous ? &e->used_previous->used_next : &s->most_recent) = e->used_next;
    *(e->used_next ? &e->used_next->used_previous : &s->least_recent) = e->used_previous;
}

static void used_link(memstore_t *s, entry_t *e) {
    e->used_previous = NULL;
    e->used_next = s->most_recent;
    *(s->most_recent ? &s->most_recent->used_previous : &s->least_recent) = e;
    s->most_recent = e;
}

static inline void touch(memstore_t *s, entry_t *e) {
    if (s->lru && s->most_recent != e) {
        used_unlink(s, e);
        used_link(s, e);
    }
}

static void entry_free(memstore_t *s, entry_t *e) {
    order_remove(s, e);
    wheel_remove(e);
    if (s->lru) used_unlink(s, e);
    blob_unref(e->value);
    *s->account -= entry_cost(e->key_length, e->levels);
    s->counters.keys--;
    free(e);
}

void entry_drop(memstore_t *s, entry_t *e) {
    entry_t **link = find_link(s, entry_key(e), e->key_length, e->hash);
    *link = e->hash_next;
    entry_free(s, e);
    resize_if_due(s);
}

static inline int expired(const entry_t *e, int64_t now_ns) { return e->deadline_ns && e->deadline_ns <= now_ns; }

/* The live entry of a key; one whose time is over goes away here. */
static entry_t *find_entry(memstore_t *s, const uint8_t *key, size_t length, int64_t now_ns) {
    entry_t **link = find_link(s, key, length, hash_key(s, key, length));
    if (!link) return NULL;
    entry_t *e = *link;
    if (__builtin_expect(expired(e, now_ns), 0)) {
        s->counters.expired++;
        entry_drop(s, e);
        return NULL;
    }
    return e;
}

/* Room for more bytes and keys. Evicts by last use, but never the `kept` most recently used entries. */
static int make_room(memstore_t *s, int64_t bytes, uint64_t keys, uint64_t kept) {
    int evictions = 0;
    if (bytes > s->max_bytes) goto refuse;
    while ((bytes > 0 && *s->account + bytes > s->max_bytes) ||
           (keys && s->max_keys && s->counters.keys + keys > s->max_keys)) {
        if (!s->lru || s->counters.keys <= kept || evictions++ == EVICTIONS_PER_OPERATION) goto refuse;
        s->counters.evicted++;
        entry_drop(s, s->least_recent);
    }
    return MS_OK;
refuse:
    s->counters.refused++;
    return MS_FULL;
}

/* Bytes by which a new value grows the account. One still held by a reply keeps its own. */
static int64_t growth(const entry_t *e, size_t length) {
    return blob_cost(length) - (e->value->refs == 1 ? blob_cost(e->value->length) : 0);
}

static void install(memstore_t *s, entry_t *e, blob_t *blob) {
    blob_unref(e->value);
    e->value = blob;
    e->version = ++s->version;
    e->deadline_ns = 0;
    wheel_remove(e);
    touch(s, e);
}

static int replace_value(memstore_t *s, entry_t *e, const uint8_t *value, size_t length) {
    touch(s, e);
    if (make_room(s, growth(e, length), 0, 1)) return MS_FULL;
    blob_t *blob = blob_new(value, length, s->account);
    if (!blob) return MS_FULL;
    install(s, e, blob);
    return MS_OK;
}

/* An entry that is linked nowhere yet; takes over the value. NULL without memory. */
static entry_t *entry_new(const uint8_t *key, size_t key_length, uint64_t hash, uint8_t levels, blob_t *value) {
    entry_t *e = malloc(entry_size(key_length, levels));
    if (!e) return NULL;
    memset(e, 0, sizeof *e);
    e->levels = levels;
    e->key_length = (uint32_t)key_length;
    e->hash = hash;
    e->value = value;
    memcpy((uint8_t *)entry_key(e), key, key_length);
    return e;
}

static void entry_link(memstore_t *s, entry_t *e) {
    e->version = ++s->version;
    *s->account += entry_cost(e->key_length, e->levels);
    s->counters.keys++;
    entry_t **bucket = &s->table.buckets[e->hash & s->table.mask];
    e->hash_next = *bucket;
    *bucket = e;
    order_insert(s, e);
    if (s->lru) used_link(s, e);
    resize_if_due(s);
}

static int insert(memstore_t *s, const uint8_t *key, size_t key_length, uint64_t hash, const uint8_t *value, size_t length) {
    uint8_t levels = order_level(s);
    if (make_room(s, entry_cost(key_length, levels) + blob_cost(length), 1, 0)) return MS_FULL;
    blob_t *blob = blob_new(value, length, s->account);
    if (!blob) return MS_FULL;
    entry_t *e = entry_new(key, key_length, hash, levels, blob);
    if (!e) {
        blob_unref(blob);
        return MS_FULL;
    }
    entry_link(s, e);
    return MS_OK;
}

/* --- operations ---------------------------------------------------------------------------------------------------- */

memstore_t *ms_new(int64_t max_bytes, uint64_t max_keys, int lru, int64_t now_ns, const uint8_t seed[16]) {
    memstore_t *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->account = calloc(1, sizeof *s->account);
    s->max_bytes = max_bytes;
    s->max_keys = max_keys;
    s->lru = lru;
    memcpy(s->seed, seed, 16);
    s->random = s->seed[0] | 1;
    wheel_start(s, now_ns);
    if (!s->account || table_open(s, &s->table, FIRST_BUCKETS)) {
        free(s->account);
        free(s);
        return NULL;
    }
    return s;
}

void ms_free(memstore_t *s) {
    for (entry_t *e = s->head[0], *next; e; e = next) {
        next = entry_forward(e)[0];
        *s->account -= entry_cost(e->key_length, e->levels);
        blob_unref(e->value);
        free(e);
    }
    table_close(s, &s->table);
    table_close(s, &s->old);
    /* Blobs still in replies write to the account when they go: it stays with them, eight bytes a closed store. */
    if (*s->account == 0) free(s->account);
    free(s);
}

ms_counters_t ms_counters(const memstore_t *s) {
    ms_counters_t c = s->counters;
    c.bytes = *s->account;
    return c;
}

int ms_is_full(const memstore_t *s) {
    return !s->lru && (*s->account + entry_cost(1, 1) + blob_cost(0) > s->max_bytes ||
                       (s->max_keys && s->counters.keys >= s->max_keys));
}

blob_t *ms_get(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns) {
    entry_t *e = find_entry(s, key, key_length, now_ns);
    if (!e) return NULL;
    touch(s, e);
    return e->value;
}

blob_t *ms_get_versioned(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns, uint64_t *version) {
    entry_t *e = find_entry(s, key, key_length, now_ns);
    *version = e ? e->version : 0;
    return e ? e->value : NULL;
}

int ms_exists(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns) {
    return find_entry(s, key, key_length, now_ns) != NULL;
}

int ms_set(memstore_t *s, const uint8_t *key, size_t key_length, const uint8_t *value, size_t value_length, int64_t now_ns) {
    uint64_t hash = hash_key(s, key, key_length);
    entry_t **link = find_link(s, key, key_length, hash);
    if (link && !expired(*link, now_ns)) return replace_value(s, *link, value, value_length);
    if (link) {
        s->counters.expired++;
        entry_drop(s, *link);
    }
    return insert(s, key, key_length, hash, value, value_length);
}

int ms_delete(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns) {
    entry_t *e = find_entry(s, key, key_length, now_ns);
    if (!e) return 0;
    entry_drop(s, e);
    return 1;
}

int ms_expire(memstore_t *s, const uint8_t *key, size_t key_length, int64_t deadline_ns, int64_t now_ns) {
    entry_t *e = find_entry(s, key, key_length, now_ns);
    if (!e) return 0;
    if (deadline_ns <= now_ns) {
        entry_drop(s, e);
        return 1;
    }
    wheel_remove(e);
    e->deadline_ns = deadline_ns;
    e->version = ++s->version;
    wheel_add(s, e);
    return 1;
}

int ms_persist(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns) {
    entry_t *e = find_entry(s, key, key_length, now_ns);
    if (!e || !e->deadline_ns) return 0;
    wheel_remove(e);
    e->deadline_ns = 0;
    e->version = ++s->version;
    return 1;
}

int64_t ms_deadline(memstore_t *s, const uint8_t *key, size_t key_length, int64_t now_ns) {
    entry_t *e = find_entry(s, key, key_length, now_ns);
    return e ? e->deadline_ns : -1;
}

/* A write made ready: what can fail is behind it, and nothing is visible yet. */
typedef struct {
    entry_t *entry; /* the one to overwrite, or a new one that holds `blob` */
    blob_t *blob;
    uint64_t hash;
    uint8_t levels; /* of a new entry; 0 = overwrite */
} staged_t;

static int commit_room(memstore_t *s, const ms_write_t *writes, staged_t *staged, size_t n, int64_t now_ns) {
    int64_t bytes = 0;
    uint64_t present = 0;
    for (size_t i = 0; i < n; i++) {
        staged_t *w = &staged[i];
        w->hash = hash_key(s, writes[i].key, writes[i].key_length);
        w->entry = find_entry(s, writes[i].key, writes[i].key_length, now_ns);
        if (w->entry) {
            touch(s, w->entry); /* so that making room spares it */
            bytes += growth(w->entry, writes[i].value_length);
            present++;
        } else {
            w->levels = order_level(s);
            bytes += entry_cost(writes[i].key_length, w->levels) + blob_cost(writes[i].value_length);
        }
    }
    return make_room(s, bytes, n - present, present);
}

static int commit_stage(memstore_t *s, const ms_write_t *writes, staged_t *staged, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        staged_t *w = &staged[i];
        if (!(w->blob = blob_new(writes[i].value, writes[i].value_length, s->account))) break;
        if (!w->levels) continue;
        w->entry = entry_new(writes[i].key, writes[i].key_length, w->hash, w->levels, w->blob);
        if (!w->entry) {
            blob_unref(w->blob);
            break;
        }
    }
    if (i == n) return MS_OK;
    while (i--) {
        if (staged[i].levels) free(staged[i].entry);
        blob_unref(staged[i].blob);
    }
    return MS_FULL;
}

int ms_commit(memstore_t *s, const ms_read_t *reads, size_t read_count, const ms_write_t *writes, size_t write_count,
              int64_t now_ns) {
    for (size_t i = 0; i < read_count; i++) {
        entry_t *e = find_entry(s, reads[i].key, reads[i].key_length, now_ns);
        if ((e ? e->version : 0) != reads[i].version) return MS_CONFLICT;
    }
    staged_t *staged = calloc(write_count + 1, sizeof *staged);
    if (!staged) return MS_FULL;
    int result = commit_room(s, writes, staged, write_count, now_ns);
    if (result == MS_OK) result = commit_stage(s, writes, staged, write_count);
    for (size_t i = 0; result == MS_OK && i < write_count; i++) {
        if (staged[i].levels) entry_link(s, staged[i].entry);
        else install(s, staged[i].entry, staged[i].blob);
    }
    free(staged);
    return result;
}

size_t ms_scan(memstore_t *s, const uint8_t *prefix, size_t prefix_length, const uint8_t *after, size_t after_length,
               int64_t now_ns, ms_item_t *items, size_t most, ms_item_t *last, int *more) {
    int behind = after != NULL;
    if (behind) { /* a cursor before the prefix starts at the prefix */
        size_t shorter = after_length < prefix_length ? after_length : prefix_length;
        int order = memcmp(after, prefix, shorter);
        if (order < 0 || (order == 0 && after_length < prefix_length)) behind = 0;
    }
    entry_t *e = behind ? order_seek(s, after, after_length, 1) : order_seek(s, prefix, prefix_length, 0);
    size_t count = 0;
    *more = 0;
    last->key = NULL;
    for (int steps = 0; e; e = entry_forward(e)[0]) {
        if (e->key_length < prefix_length || memcmp(entry_key(e), prefix, prefix_length) != 0) return count;
        if (count == most || steps++ == MS_SCAN_STEPS) {
            *more = 1;
            return count;
        }
        last->key = entry_key(e);
        last->key_length = e->key_length;
        if (expired(e, now_ns)) continue;
        items[count].key = entry_key(e);
        items[count].key_length = e->key_length;
        items[count++].value = e->value;
    }
    return count;
}

int ms_tick(memstore_t *s, int64_t now_ns, int budget) {
    int more = wheel_advance(s, now_ns, &budget);
    while (s->due && budget-- > 0) {
        s->counters.expired++;
        entry_drop(s, s->due);
    }
    if (budget > 0) {
        resize_if_due(s);
        if (rehash_some(s, budget)) more = 1;
    }
    return more || s->due != NULL;
}
