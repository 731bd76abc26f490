/* UUIDs of version 7: the time in milliseconds, then bits that increase within one millisecond and cannot be guessed.
 *
 * 74 bits are free. A new millisecond starts them at random with the highest clear; within it each adds a random number
 * of 1 to 2^31. A clock that goes back is not followed. Loop thread only. */
#ifndef PRISM_UUID7_H
#define PRISM_UUID7_H
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { UUID_TEXT = 36, UUID_POOL = 4096 };

typedef struct {
    uint64_t milliseconds;
    uint64_t high; /* 12 bits */
    uint64_t low;  /* 62 bits */
    int used;      /* bytes of `pool` */
    uint8_t pool[UUID_POOL];
} uuid7_t;

static inline void uuid7_init(uuid7_t *u) {
    memset(u, 0, sizeof *u);
    u->used = UUID_POOL;
}

/* 0, or -1 when the system gives no random bytes. */
static inline int uuid7_random(uuid7_t *u, void *out, int n) {
    if (u->used + n > UUID_POOL) {
        if (getrandom(u->pool, UUID_POOL, 0) != UUID_POOL) return -1;
        u->used = 0;
    }
    memcpy(out, u->pool + u->used, (size_t)n);
    memset(u->pool + u->used, 0, (size_t)n);
    u->used += n;
    return 0;
}

static inline int uuid7_next(uuid7_t *u, uint64_t now_ms) {
    uint32_t step;
    if (now_ms > u->milliseconds) {
        uint64_t random[2];
        if (uuid7_random(u, random, 16)) return -1;
        u->milliseconds = now_ms;
        u->high = random[0] & 0x7FF;
        u->low = random[1] >> 2;
        return 0;
    }
    if (uuid7_random(u, &step, 4)) return -1;
    u->low += (step >> 1) + 1;
    if (u->low >> 62) {
        u->low &= (UINT64_C(1) << 62) - 1;
        if (++u->high >> 12) {
            u->high = 0;
            u->milliseconds++;
        }
    }
    return 0;
}

/* Both digits of eight bytes at once: a nibble above 9 gets the distance from ':' to 'a' on top. */
static inline void uuid7_hex(uint8_t *out, uint32_t value) {
    uint64_t x = value;
    x = (x << 32 | x >> 16) & UINT64_C(0x0000FFFF0000FFFF);
    x = (x << 16 | x >> 8) & UINT64_C(0x00FF00FF00FF00FF);
    x = (x << 8 | x >> 4) & UINT64_C(0x0F0F0F0F0F0F0F0F);
    uint64_t letters = ((x + UINT64_C(0x0606060606060606)) >> 4) & UINT64_C(0x0101010101010101);
    x += UINT64_C(0x3030303030303030) + letters * 39;
    memcpy(out, &x, 8);
}

/* The 36 characters of the current one. */
static inline void uuid7_text(const uuid7_t *u, uint8_t *out) {
    uint8_t digits[32];
    uuid7_hex(digits, (uint32_t)(u->milliseconds >> 16));
    uuid7_hex(digits + 8, (uint32_t)(u->milliseconds << 16) | 0x7000 | (uint32_t)u->high);
    uuid7_hex(digits + 16, UINT32_C(0x80000000) | (uint32_t)(u->low >> 32));
    uuid7_hex(digits + 24, (uint32_t)u->low);
    memcpy(out, digits, 8);
    memcpy(out + 9, digits + 8, 4);
    memcpy(out + 14, digits + 12, 4);
    memcpy(out + 19, digits + 16, 4);
    memcpy(out + 24, digits + 20, 12);
    out[8] = out[13] = out[18] = out[23] = '-';
}

static inline uint64_t uuid7_now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}
#endif
