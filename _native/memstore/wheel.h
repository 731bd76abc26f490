/* Hierarchical timing wheel of expiries. Six levels of 256 slots; a tick is 2^22 ns (4.2 ms).
 *
 * An entry sits at the level of the highest byte in which its tick differs from the clock, so everything on a level
 * comes before anything on the levels above, and the next event is the lowest set bit of the lowest non-empty level:
 * idle time is skipped at no cost. Reaching a slot of an upper level moves its entries down one by one within the
 * caller's budget; the clock waits meanwhile. An entry never fires early and at most one tick late. */
#ifndef PRISM_MEMSTORE_WHEEL_H
#define PRISM_MEMSTORE_WHEEL_H
#include "memstore/entry.h"

#define WHEEL_TICK_SHIFT 22
#define WHEEL_LEVELS 6
#define WHEEL_SLOTS 256

typedef struct {
    entry_t *slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t occupied[WHEEL_LEVELS][WHEEL_SLOTS / 64];
    uint64_t clock; /* ticks; every entry is at or after it */
    int moving;     /* level whose current slot is being moved down; 0 = none */
    size_t count;
} wheel_t;

/* By e->expires_ns, which must not be NEVER. */
void wheel_add(wheel_t *w, entry_t *e);
void wheel_remove(wheel_t *w, entry_t *e);
/* Take out one entry due at now_ns. NULL when none is due or the budget (one unit per entry moved) ran out. */
entry_t *wheel_pop(wheel_t *w, int64_t now_ns, int64_t *budget);
#endif
