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
 * No locks here. Who gets which slot is decided under a file lock in gate.pyx. */
#ifndef PRISM_GATE_H
#define PRISM_GATE_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { GATE_ADMITTED = 0, GATE_RATE = 1, GATE_CALLS = 2, GATE_BYTES = 3, GATE_DIMENSIONS = 4 };
enum { GATE_NAME_BYTES = 256, GATE_WINDOW_SHIFT = 30, GATE_DEBT_NS = 1000000000 };
#define GATE_MAGIC UINT64_C(0x31657461676d7270)

typedef _Atomic int64_t gate_number_t;

typedef struct {
    _Alignas(128) gate_number_t calls, bytes; /* in flight */
    gate_number_t window;                     /* the last one, of 2^30 ns, in which a call came */
    gate_number_t came, came_before;          /* calls in that window, and in the one before it */
    gate_number_t late, late_before;          /* those of them that were refused for the rate */
    gate_number_t attached;                   /* gates of the worker that use the slot */
    gate_number_t refused[GATE_DIMENSIONS], refused_ns[GATE_DIMENSIONS];
} gate_cell_t;

typedef struct {
    _Alignas(128) gate_number_t full_ns; /* the bucket */
    _Alignas(128) uint32_t name_length;
    char name[GATE_NAME_BYTES];
    gate_cell_t cells[];
} gate_slot_t;

typedef struct {
    uint64_t magic;
    uint32_t cell_bytes, workers, slots, used;
} gate_head_t;

/* A namespace's limits as one worker applies them. 0 is unlimited. */
typedef struct {
    gate_slot_t *slot;
    gate_cell_t *own;
    uint32_t workers;
    int64_t interval_ns, tolerance_ns, calls, bytes;
} gate_t;

static inline size_t gate_slot_bytes(uint32_t workers) { return sizeof(gate_slot_t) + workers * sizeof(gate_cell_t); }

static inline size_t gate_page_bytes(uint32_t workers, uint32_t slots) {
    return sizeof(gate_slot_t) + slots * gate_slot_bytes(workers); /* the head has the room of a slot: alignment */
}

static inline gate_slot_t *gate_slot_at(gate_head_t *head, uint32_t index) {
    return (gate_slot_t *)((char *)head + sizeof(gate_slot_t) + index * gate_slot_bytes(head->workers));
}

static inline int64_t gate_load(const gate_number_t *number) {
    return atomic_load_explicit(number, memory_order_relaxed);
}

static inline void gate_store(gate_number_t *number, int64_t value) {
    atomic_store_explicit(number, value, memory_order_relaxed);
}

static inline int64_t gate_sum(const gate_t *gate, const gate_number_t *own) {
    size_t field = (size_t)((const char *)own - (const char *)gate->own);
    int64_t sum = 0;
    for (uint32_t i = 0; i < gate->workers; i++)
        sum += atomic_load((const gate_number_t *)((const char *)&gate->slot->cells[i] + field));
    return sum;
}

/* Take `n` of what `own` counts, unless that passes the limit. */
static inline int gate_take(const gate_t *gate, gate_number_t *own, int64_t n, int64_t limit) {
    int64_t mine = gate_load(own) + n;
    if (gate->workers == 1 || limit == 0) {
        if (limit && mine > limit) return 0;
        gate_store(own, mine);
        return 1;
    }
    atomic_store(own, mine); /* sequentially consistent: of two workers at once, one sees the other's */
    if (gate_sum(gate, own) <= limit) return 1;
    gate_store(own, mine - n);
    return 0;
}

static inline void gate_give(gate_number_t *own, int64_t n) { gate_store(own, gate_load(own) - n); }

static inline int gate_swap(gate_number_t *number, int64_t *expected, int64_t value) {
    return atomic_compare_exchange_weak_explicit(number, expected, value, memory_order_relaxed, memory_order_relaxed);
}

/* Take a token, unless the bucket is empty. What a lower rate left in it, before a change of the limits, delays calls
 * by GATE_DEBT_NS at most; less could be the work of another worker, whose clock reading is newer than ours. */
static inline int gate_take_token(const gate_t *gate, int64_t now_ns) {
    int64_t full = gate_load(&gate->slot->full_ns), next;
    do {
        next = (full > now_ns ? full : now_ns) + gate->interval_ns;
        if (next - now_ns > gate->tolerance_ns) {
            int64_t most = now_ns + gate->tolerance_ns + GATE_DEBT_NS;
            if (full > most) gate_swap(&gate->slot->full_ns, &full, most);
            return 0;
        }
    } while (!gate_swap(&gate->slot->full_ns, &full, next));
    return 1;
}

static inline void gate_count_arrival(gate_cell_t *own, int64_t now_ns) {
    int64_t window = now_ns >> GATE_WINDOW_SHIFT, last = gate_load(&own->window);
    if (window != last) {
        gate_store(&own->came_before, window == last + 1 ? gate_load(&own->came) : 0);
        gate_store(&own->late_before, window == last + 1 ? gate_load(&own->late) : 0);
        gate_store(&own->came, 0);
        gate_store(&own->late, 0);
        gate_store(&own->window, window);
    }
    gate_store(&own->came, gate_load(&own->came) + 1);
}

static inline void gate_count_refusal(gate_cell_t *own, int dimension, int64_t now_ns) {
    if (dimension == GATE_RATE) gate_store(&own->late, gate_load(&own->late) + 1);
    gate_store(&own->refused[dimension], gate_load(&own->refused[dimension]) + 1);
    gate_store(&own->refused_ns[dimension], now_ns);
}

/* How many a second, judged by the last two windows of a worker. */
static inline double gate_per_second(const gate_cell_t *cell, int64_t count, int64_t before, int64_t now_ns) {
    const double width = (double)(INT64_C(1) << GATE_WINDOW_SHIFT);
    int64_t window = gate_load(&cell->window), now = now_ns >> GATE_WINDOW_SHIFT;
    double left = 1.0 - (double)(now_ns - (now << GATE_WINDOW_SHIFT)) / width, calls = 0;
    if (window == now) calls = (double)count + left * (double)before;
    if (window == now - 1) calls = left * (double)count;
    return calls * 1e9 / width;
}

static inline double gate_arrival_rate(const gate_cell_t *cell, int64_t now_ns) {
    return gate_per_second(cell, gate_load(&cell->came), gate_load(&cell->came_before), now_ns);
}

static inline double gate_refusal_rate(const gate_cell_t *cell, int64_t now_ns) {
    return gate_per_second(cell, gate_load(&cell->late), gate_load(&cell->late_before), now_ns);
}

/* Admit a call: GATE_ADMITTED, or the dimension that refuses it. What is admitted is given back by `gate_leave`. */
static inline int gate_enter(const gate_t *gate, int64_t now_ns) {
    int refused = GATE_ADMITTED;
    if (gate->interval_ns) gate_count_arrival(gate->own, now_ns);
    if (!gate_take(gate, &gate->own->calls, 1, gate->calls)) {
        refused = GATE_CALLS;
    } else if (gate->interval_ns && !gate_take_token(gate, now_ns)) {
        gate_give(&gate->own->calls, 1);
        refused = GATE_RATE;
    }
    if (refused) gate_count_refusal(gate->own, refused, now_ns);
    return refused;
}

/* A worker died: nothing that it held is in use. What it counted, its supervisor has. */
static inline void gate_forget(gate_head_t *head, uint32_t worker) {
    for (uint32_t i = 0; i < head->used; i++) memset(&gate_slot_at(head, i)->cells[worker], 0, sizeof(gate_cell_t));
}

static inline int gate_in_use(const gate_head_t *head, const gate_slot_t *slot) {
    for (uint32_t i = 0; i < head->workers; i++)
        if (gate_load(&slot->cells[i].attached)) return 1;
    return 0;
}

/* The slot of a name, a new one, or one that nobody uses any more; NULL when all are in use. Hold the page's lock. */
static inline gate_slot_t *gate_find(gate_head_t *head, const char *name, uint32_t length) {
    gate_slot_t *slot, *unused = NULL;
    for (uint32_t i = 0; i < head->used; i++) {
        slot = gate_slot_at(head, i);
        if (slot->name_length == length && memcmp(slot->name, name, length) == 0) return slot;
        if (unused == NULL && !gate_in_use(head, slot)) unused = slot;
    }
    slot = head->used < head->slots ? gate_slot_at(head, head->used++) : unused;
    if (slot == NULL) return NULL;
    memset(slot, 0, gate_slot_bytes(head->workers));
    slot->name_length = length;
    memcpy(slot->name, name, length);
    return slot;
}
#endif
