/* SipHash-1-3: a keyed hash that keeps its distribution against callers who choose the keys. */
#ifndef PRISM_SIPHASH_H
#define PRISM_SIPHASH_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SIP_ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static inline void sip_round(uint64_t v[4]) {
    v[0] += v[1]; v[2] += v[3];
    v[1] = SIP_ROTATE(v[1], 13) ^ v[0]; v[3] = SIP_ROTATE(v[3], 16) ^ v[2];
    v[0] = SIP_ROTATE(v[0], 32);
    v[2] += v[1]; v[0] += v[3];
    v[1] = SIP_ROTATE(v[1], 17) ^ v[2]; v[3] = SIP_ROTATE(v[3], 21) ^ v[0];
    v[2] = SIP_ROTATE(v[2], 32);
}

static inline uint64_t siphash13(const uint64_t seed[2], const uint8_t *data, size_t n) {
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    uint64_t word, last = (uint64_t)n << 56;
    size_t i;
    for (i = 0; i + 8 <= n; i += 8) {
        memcpy(&word, data + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (unsigned shift = 0; i < n; i++, shift += 8) last |= (uint64_t)data[i] << shift;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
#endif
