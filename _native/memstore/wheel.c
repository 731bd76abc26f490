#include "memstore/wheel.h"

static inline unsigned slot_of(uint64_t tick, int level) { return (tick >> (8 * level)) & (WHEEL_SLOTS - 1); }

/* Rounded up, so that nothing fires early. */
static inline uint64_t tick_of(int64_t ns) {
    return ns <= 0 ? 0 : ((uint64_t)ns + ((uint64_t)1 << WHEEL_TICK_SHIFT) - 1) >> WHEEL_TICK_SHIFT;
}

static void place(wheel_t *w, entry_t *e) {
    uint64_t tick = tick_of(e->expires_ns);
    if (tick < w->clock) tick = w->clock;
    uint64_t differs = tick ^ w->clock;
    int level = differs ? (63 - __builtin_clzll(differs)) / 8 : 0;
    unsigned slot = slot_of(tick, level);
    entry_t **head = &w->slots[level][slot];
    e->timer_next = *head;
    e->timer_link = head;
    if (*head) (*head)->timer_link = &e->timer_next;
    *head = e;
    w->occupied[level][slot / 64] |= (uint64_t)1 << (slot % 64);
}

static void unplace(wheel_t *w, entry_t *e) {
    entry_t **link = e->timer_link, **first = &w->slots[0][0];
    *link = e->timer_next;
    if (e->timer_next) e->timer_next->timer_link = link;
    if (!*link && link >= first && link < first + WHEEL_LEVELS * WHEEL_SLOTS) {
        size_t i = (size_t)(link - first), slot = i % WHEEL_SLOTS;
        w->occupied[i / WHEEL_SLOTS][slot / 64] &= ~((uint64_t)1 << (slot % 64));
    }
}

void wheel_add(wheel_t *w, entry_t *e) {
    place(w, e);
    w->count++;
}

void wheel_remove(wheel_t *w, entry_t *e) {
    unplace(w, e);
    w->count--;
}

/* Move the clock to the next occupied slot if that is not after `now`. False when nothing is due. */
static int advance(wheel_t *w, uint64_t now) {
    for (int level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned word = 0; word < WHEEL_SLOTS / 64; word++) {
            if (!w->occupied[level][word]) continue;
            uint64_t slot = word * 64 + (unsigned)__builtin_ctzll(w->occupied[level][word]);
            uint64_t above = w->clock >> (8 * level) >> 8;
            uint64_t at = ((above << 8) | slot) << (8 * level);
            if (at > now) goto idle;
            w->clock = at;
            w->moving = level;
            return 1;
        }
idle:
    if (now > w->clock) w->clock = now;
    return 0;
}

entry_t *wheel_pop(wheel_t *w, int64_t now_ns, int64_t *budget) {
    uint64_t now = now_ns <= 0 ? 0 : (uint64_t)now_ns >> WHEEL_TICK_SHIFT;
    while (w->count && *budget > 0) {
        entry_t *e;
        if (w->moving) {
            e = w->slots[w->moving][slot_of(w->clock, w->moving)];
            if (e) {
                unplace(w, e);
                place(w, e);
                --*budget;
                continue;
            }
            w->moving = 0;
        }
        e = w->clock <= now ? w->slots[0][slot_of(w->clock, 0)] : NULL;
        if (e) {
            wheel_remove(w, e);
            return e;
        }
        if (!advance(w, now)) return NULL;
    }
    return NULL;
}
