/* The skip list that keeps entries in bytewise order of their keys. */
#include "memstore_entry.h"

static int compare(const entry_t *e, const uint8_t *key, size_t length) {
    size_t shorter = e->key_length < length ? e->key_length : length;
    int order = memcmp(entry_key(e), key, shorter);
    if (order) return order;
    return e->key_length < length ? -1 : e->key_length > length;
}

/* Levels of a new entry: each further one with probability 1/4. */
uint8_t order_level(memstore_t *s) {
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    int levels = 1 + __builtin_ctzll(s->random | (1ULL << 62)) / 2;
    return (uint8_t)(levels < MS_MAX_LEVEL ? levels : MS_MAX_LEVEL);
}

/* For each level, where the pointer to the first entry not before (`after`: behind) the key stands. */
static void find(memstore_t *s, const uint8_t *key, size_t length, int after, entry_t **at[MS_MAX_LEVEL]) {
    entry_t **row = s->head;
    for (int level = MS_MAX_LEVEL - 1; level >= 0; level--) {
        entry_t *next;
        while ((next = row[level]) != NULL) {
            int order = compare(next, key, length);
            if (order > 0 || (order == 0 && !after)) break;
            row = entry_forward(next);
        }
        at[level] = &row[level];
    }
}

void order_insert(memstore_t *s, entry_t *e) {
    entry_t **at[MS_MAX_LEVEL];
    find(s, entry_key(e), e->key_length, 0, at);
    for (int level = 0; level < e->levels; level++) {
        entry_forward(e)[level] = *at[level];
        *at[level] = e;
    }
}

void order_remove(memstore_t *s, entry_t *e) {
    entry_t **at[MS_MAX_LEVEL];
    find(s, entry_key(e), e->key_length, 0, at);
    for (int level = 0; level < e->levels; level++)
        if (*at[level] == e) *at[level] = entry_forward(e)[level];
}

/* The first entry with a key not before `key`, or behind it when `after` is set. */
entry_t *order_seek(memstore_t *s, const uint8_t *key, size_t length, int after) {
    entry_t **at[MS_MAX_LEVEL];
    find(s, key, length, after, at);
    return *at[0];
}
