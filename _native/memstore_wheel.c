/* A hierarchical timing wheel: four levels of 256 slots, the finest of 2^24 ns (about 17 ms), so that the wheel reaches
 * about 2 years ahead; what is due later waits in the last slot of the coarsest level and is placed again from there. */
#include "memstore_entry.h"

enum { TICK_SHIFT = 24 };

static void link_into(entry_t **slot, entry_t *e) {
    e->wheel_next = *slot;
    if (*slot) (*slot)->wheel_slot = &e->wheel_next;
    *slot = e;
    e->wheel_slot = slot;
}

void wheel_start(memstore_t *s, int64_t now_ns) { s->wheel_tick = (uint64_t)now_ns >> TICK_SHIFT; }

void wheel_remove(entry_t *e) {
    if (!e->wheel_slot) return;
    *e->wheel_slot = e->wheel_next;
    if (e->wheel_next) e->wheel_next->wheel_slot = e->wheel_slot;
    e->wheel_slot = NULL;
    e->wheel_next = NULL;
}

void wheel_add(memstore_t *s, entry_t *e) {
    /* Rounded up, so that an entry is never taken out of its slot before its deadline. */
    uint64_t tick = ((uint64_t)e->deadline_ns >> TICK_SHIFT) + 1;
    if (tick <= s->wheel_tick) tick = s->wheel_tick + 1;
    uint64_t ahead = tick - s->wheel_tick;
    int level = 0;
    while (level < WHEEL_LEVELS - 1 && ahead >> (WHEEL_BITS * (level + 1))) level++;
    if (ahead >> (WHEEL_BITS * WHEEL_LEVELS)) tick = s->wheel_tick + ((uint64_t)1 << (WHEEL_BITS * WHEEL_LEVELS)) - 1;
    link_into(&s->wheel[level][(tick >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1)], e);
}

/* Turn the wheel to `now_ns`: due entries move to `s->due`, coarse slots spread over finer ones. Stops when `*budget` is
 * spent; 1 when it did. A slot is moved entry by entry, so that stopping in the middle loses nothing. */
int wheel_advance(memstore_t *s, int64_t now_ns, int *budget) {
    uint64_t target = (uint64_t)now_ns >> TICK_SHIFT;
    while (s->wheel_tick < target) {
        uint64_t next = s->wheel_tick + 1;
        /* Coarse slots first: entering a new round of a level, its slot for this round spreads downwards. */
        for (int level = WHEEL_LEVELS - 1; level > 0; level--) {
            if (next & (((uint64_t)1 << (WHEEL_BITS * level)) - 1)) continue;
            entry_t **slot = &s->wheel[level][(next >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1)];
            entry_t *keep = NULL;
            while (*slot) {
                entry_t *e = *slot;
                if ((*budget)-- <= 0) {
                    while (keep) {
                        entry_t *back = keep;
                        wheel_remove(back);
                        link_into(slot, back);
                    }
                    return 1;
                }
                wheel_remove(e);
                if (((uint64_t)e->deadline_ns >> TICK_SHIFT) + 1 <= next) {
                    link_into(&s->due, e);
                } else {
                    uint64_t before = s->wheel_tick;
                    s->wheel_tick = next;
                    wheel_add(s, e);
                    s->wheel_tick = before;
                    if (e->wheel_slot == slot) { /* a full round ahead: back into the slot being emptied */
                        wheel_remove(e);
                        link_into(&keep, e);
                    }
                }
            }
            while (keep) {
                entry_t *back = keep;
                wheel_remove(back);
                link_into(slot, back);
            }
        }
        entry_t **slot = &s->wheel[0][next & (WHEEL_SLOTS - 1)];
        while (*slot) {
            entry_t *e = *slot;
            if ((*budget)-- <= 0) return 1;
            wheel_remove(e);
            link_into(&s->due, e);
        }
        s->wheel_tick = next;
    }
    return 0;
}
