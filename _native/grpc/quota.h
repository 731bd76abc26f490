/* What calls of a namespace may take at once and per second, held in memory that the workers of a proxy share.
 *
 *   page: head | slot | slot | ...          a slot is one namespace
 *   slot: token bucket | who it is | a cell for each worker
 *
 * The token bucket is one number, the theoretical arrival time (GCRA): when the bucket will be full again. Calls and
 * bytes in flight are the sum of the workers' cells, and a cell is written by its worker alone; so the supervisor gives
 * back all that a dead worker held by zeroing its cell, whatever the worker was about when it died. A worker adds to its
 * cell before it looks at the sum: the limit is never passed, and of two that meet at the limit both may be refused.
 *
 * No locks here. Who gets which slot is decided under a file lock in quota.pyx. */
#ifndef PRISM_QUOTA_H
#define PRISM_QUOTA_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { QUOTA_ADMITTED = 0, QUOTA_RATE = 1, QUOTA_CALLS = 2, QUOTA_BYTES = 3, QUOTA_DIMENSIONS = 4 };
enum { QUOTA_NAME_BYTES = 256, QUOTA_WINDOW_SHIFT = 30, QUOTA_DEBT_NS = 1000000000 };
#define QUOTA_MAGIC UINT64_C(0x31657461676d7270)

typedef _Atomic int64_t quota_number_t;

typedef struct {
    _Alignas(128) quota_number_t calls, bytes; /* in flight */
    quota_number_t window;                     /* the last one, of 2^30 ns, in which a call came */
    quota_number_t came, came_before;          /* calls in that window, and in the one before it */
    quota_number_t late, late_before;          /* those of them that were refused for the rate */
    quota_number_t attached;                   /* quotas of the worker that use the slot */
    quota_number_t refused[QUOTA_DIMENSIONS], refused_ns[QUOTA_DIMENSIONS];
} quota_cell_t;

typedef struct {
    _Alignas(128) quota_number_t full_ns; /* the bucket */
    _Alignas(128) uint32_t name_length;
    char name[QUOTA_NAME_BYTES];
    quota_cell_t cells[];
} quota_slot_t;

typedef struct {
    uint64_t magic;
    uint32_t cell_bytes, workers, slots, used;
} quota_head_t;

/* A namespace's limits as one worker applies them. 0 is unlimited. */
typedef struct {
    quota_slot_t *slot;
    quota_cell_t *own;
    uint32_t workers;
    int64_t interval_ns, tolerance_ns, calls, bytes;
} quota_t;

static inline size_t quota_slot_bytes(uint32_t workers) { return sizeof(quota_slot_t) + workers * sizeof(quota_cell_t); }

static inline size_t quota_page_bytes(uint32_t workers, uint32_t slots) {
    return sizeof(quota_slot_t) + slots * quota_slot_bytes(workers); /* the head has the room of a slot: alignment */
}

static inline quota_slot_t *quota_slot_at(quota_head_t *head, uint32_t index) {
    return (quota_slot_t *)((char *)head + sizeof(quota_slot_t) + index * quota_slot_bytes(head->workers));
}

static inline int64_t quota_load(const quota_number_t *number) {
    return atomic_load_explicit(number, memory_order_relaxed);
}

static inline void quota_store(quota_number_t *number, int64_t value) {
    atomic_store_explicit(number, value, memory_order_relaxed);
}

static inline int64_t quota_sum(const quota_t *quota, const quota_number_t *own) {
    size_t field = (size_t)((const char *)own - (const char *)quota->own);
    int64_t sum = 0;
    for (uint32_t i = 0; i < quota->workers; i++)
        sum += atomic_load((const quota_number_t *)((const char *)&quota->slot->cells[i] + field));
    return sum;
}

/* Take `n` of what `own` counts, unless that passes the limit. */
static inline int quota_take(const quota_t *quota, quota_number_t *own, int64_t n, int64_t limit) {
    int64_t mine = quota_load(own) + n;
    if (quota->workers == 1 || limit == 0) {
        if (limit && mine > limit) return 0;
        quota_store(own, mine);
        return 1;
    }
    atomic_store(own, mine); /* sequentially consistent: of two workers at once, one sees the other's */
    if (quota_sum(quota, own) <= limit) return 1;
    quota_store(own, mine - n);
    return 0;
}

static inline void quota_give(quota_number_t *own, int64_t n) { quota_store(own, quota_load(own) - n); }

static inline int quota_swap(quota_number_t *number, int64_t *expected, int64_t value) {
    return atomic_compare_exchange_weak_explicit(number, expected, value, memory_order_relaxed, memory_order_relaxed);
}

/* Take a token, unless the bucket is empty. What a lower rate left in it, before a change of the limits, delays calls
 * by QUOTA_DEBT_NS at most; less could be the work of another worker, whose clock reading is newer than ours. */
static inline int quota_take_token(const quota_t *quota, int64_t now_ns) {
    int64_t full = quota_load(&quota->slot->full_ns), next;
    do {
        next = (full > now_ns ? full : now_ns) + quota->interval_ns;
        if (next - now_ns > quota->tolerance_ns) {
            int64_t most = now_ns + quota->tolerance_ns + QUOTA_DEBT_NS;
            if (full > most) quota_swap(&quota->slot->full_ns, &full, most);
            return 0;
        }
    } while (!quota_swap(&quota->slot->full_ns, &full, next));
    return 1;
}

static inline void quota_count_arrival(quota_cell_t *own, int64_t now_ns) {
    int64_t window = now_ns >> QUOTA_WINDOW_SHIFT, last = quota_load(&own->window);
    if (window != last) {
        quota_store(&own->came_before, window == last + 1 ? quota_load(&own->came) : 0);
        quota_store(&own->late_before, window == last + 1 ? quota_load(&own->late) : 0);
        quota_store(&own->came, 0);
        quota_store(&own->late, 0);
        quota_store(&own->window, window);
    }
    quota_store(&own->came, quota_load(&own->came) + 1);
}

static inline void quota_count_refusal(quota_cell_t *own, int dimension, int64_t now_ns) {
    if (dimension == QUOTA_RATE) quota_store(&own->late, quota_load(&own->late) + 1);
    quota_store(&own->refused[dimension], quota_load(&own->refused[dimension]) + 1);
    quota_store(&own->refused_ns[dimension], now_ns);
}

/* How many a second, judged by the last two windows of a worker. */
static inline double quota_per_second(const quota_cell_t *cell, int64_t count, int64_t before, int64_t now_ns) {
    const double width = (double)(INT64_C(1) << QUOTA_WINDOW_SHIFT);
    int64_t window = quota_load(&cell->window), now = now_ns >> QUOTA_WINDOW_SHIFT;
    double left = 1.0 - (double)(now_ns - (now << QUOTA_WINDOW_SHIFT)) / width, calls = 0;
    if (window == now) calls = (double)count + left * (double)before;
    if (window == now - 1) calls = left * (double)count;
    return calls * 1e9 / width;
}

static inline double quota_arrival_rate(const quota_cell_t *cell, int64_t now_ns) {
    return quota_per_second(cell, quota_load(&cell->came), quota_load(&cell->came_before), now_ns);
}

static inline double quota_refusal_rate(const quota_cell_t *cell, int64_t now_ns) {
    return quota_per_second(cell, quota_load(&cell->late), quota_load(&cell->late_before), now_ns);
}

/* Admit a call: QUOTA_ADMITTED, or the dimension that refuses it. What is admitted is given back by `quota_leave`. */
static inline int quota_enter(const quota_t *quota, int64_t now_ns) {
    int refused = QUOTA_ADMITTED;
    if (quota->interval_ns) quota_count_arrival(quota->own, now_ns);
    if (!quota_take(quota, &quota->own->calls, 1, quota->calls)) {
        refused = QUOTA_CALLS;
    } else if (quota->interval_ns && !quota_take_token(quota, now_ns)) {
        quota_give(&quota->own->calls, 1);
        refused = QUOTA_RATE;
    }
    if (refused) quota_count_refusal(quota->own, refused, now_ns);
    return refused;
}

/* A worker died: nothing that it held is in use. What it counted, its supervisor has. */
static inline void quota_forget(quota_head_t *head, uint32_t worker) {
    for (uint32_t i = 0; i < head->used; i++) memset(&quota_slot_at(head, i)->cells[worker], 0, sizeof(quota_cell_t));
}

static inline int quota_in_use(const quota_head_t *head, const quota_slot_t *slot) {
    for (uint32_t i = 0; i < head->workers; i++)
        if (quota_load(&slot->cells[i].attached)) return 1;
    return 0;
}

/* The slot of a name, a new one, or one that nobody uses any more; NULL when all are in use. Hold the page's lock. */
static inline quota_slot_t *quota_find(quota_head_t *head, const char *name, uint32_t length) {
    quota_slot_t *slot, *unused = NULL;
    for (uint32_t i = 0; i < head->used; i++) {
        slot = quota_slot_at(head, i);
        if (slot->name_length == length && memcmp(slot->name, name, length) == 0) return slot;
        if (unused == NULL && !quota_in_use(head, slot)) unused = slot;
    }
    slot = head->used < head->slots ? quota_slot_at(head, head->used++) : unused;
    if (slot == NULL) return NULL;
    memset(slot, 0, quota_slot_bytes(head->workers));
    slot->name_length = length;
    memcpy(slot->name, name, length);
    return slot;
}
#endif
