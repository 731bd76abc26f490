/* The hash of a record, for digests that two processes compare: the seed is the same everywhere. */
#ifndef PRISM_RECORD_HASH_H
#define PRISM_RECORD_HASH_H
#include "memstore/siphash.h"

static inline uint64_t record_hash(const uint8_t *key, size_t klen, const uint8_t *value, size_t vlen, int64_t expires) {
    const uint64_t seed[2] = {0x5072697361726563u, 0x6f72642064696765u};
    const uint64_t inner[2] = {siphash13(seed, key, klen), (uint64_t)expires};
    return siphash13(inner, value, vlen);
}
#endif
