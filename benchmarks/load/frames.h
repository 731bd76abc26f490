/* What our load generators share: HTTP/2 frames and HPACK strings as they write them, a clock, a histogram. */
#ifndef PRISM_FRAMES_H
#define PRISM_FRAMES_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_RST = 3, FRAME_SETTINGS = 4, FRAME_PING = 6, FRAME_GOAWAY = 7,
       FRAME_WINDOW = 8, FRAME_CONTINUATION = 9 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };

/* Latency histogram: 128 linear steps in every power of two of nanoseconds, so an error below 0.8 %. */
enum { STEP_BITS = 7, BUCKETS = 64 << STEP_BITS };
static uint64_t histogram[BUCKETS];
static int64_t latency_max;

static inline int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static inline void die(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(1);
}

static inline unsigned bucket_of(int64_t ns) {
    uint64_t v = ns < 1 ? 1 : (uint64_t)ns;
    int shift = 63 - __builtin_clzll(v) - STEP_BITS;
    if (shift < 0) return (unsigned)v;
    return ((unsigned)(shift + 1) << STEP_BITS) + (unsigned)((v >> shift) & ((1 << STEP_BITS) - 1));
}

static inline double bucket_us(unsigned bucket) {
    unsigned power = bucket >> STEP_BITS;
    if (power == 0) return bucket / 1e3;
    unsigned step = (1u << STEP_BITS) + (bucket & ((1u << STEP_BITS) - 1));
    return ((double)step + 0.5) * (double)(1ull << (power - 1)) / 1e3;
}

static inline double percentile_us(double share, uint64_t samples) {
    uint64_t rank = (uint64_t)(share * (double)samples), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((seen += histogram[i]) > rank) return bucket_us(i);
    return (double)latency_max / 1e3;
}

static inline void count_latency(int64_t ns) {
    histogram[bucket_of(ns)]++;
    if (ns > latency_max) latency_max = ns;
}

static inline size_t put_varint(uint8_t *p, uint32_t v) {
    size_t n = 0;
    while (v >= 0x80) p[n++] = (uint8_t)(v | 0x80), v >>= 7;
    p[n++] = (uint8_t)v;
    return n;
}

static inline size_t put_prefix(uint8_t *p, size_t message) {
    uint32_t length = htonl((uint32_t)message);
    p[0] = 0;
    memcpy(p + 1, &length, 4);
    return 5;
}

static inline void put_frame_head(uint8_t *p, size_t length, int type, int flags, uint32_t id) {
    p[0] = (uint8_t)(length >> 16), p[1] = (uint8_t)(length >> 8), p[2] = (uint8_t)length;
    p[3] = (uint8_t)type, p[4] = (uint8_t)flags;
    id = htonl(id);
    memcpy(p + 5, &id, 4);
}

static inline size_t put_integer(uint8_t *p, int prefix, uint8_t pattern, uint32_t v) {
    uint32_t limit = (1u << prefix) - 1;
    if (v < limit) return p[0] = (uint8_t)(pattern | v), 1;
    p[0] = (uint8_t)(pattern | limit);
    return 1 + put_varint(p + 1, v - limit);
}

static inline size_t put_string(uint8_t *p, const char *text, size_t length) {
    size_t n = put_integer(p, 7, 0, (uint32_t)length);
    memcpy(p + n, text, length);
    return n + length;
}
#endif
