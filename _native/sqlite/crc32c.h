/* CRC32C (Castagnoli), by the processor's own instruction where it has one.
 *
 * `crc32c(crc, data, length)` goes on from the value of what came before; 0 begins. */
#ifndef PRISM_CRC32C_H
#define PRISM_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CRC32C_POLYNOMIAL 0x82f63b78u /* reflected */

typedef uint32_t (*crc32c_step_t)(uint32_t, const uint8_t *, size_t);

static uint32_t crc32c_table[256];

static uint32_t crc32c_by_table(uint32_t crc, const uint8_t *data, size_t length) {
    for (size_t i = 0; i < length; i++)
        crc = (crc >> 8) ^ crc32c_table[(crc ^ data[i]) & 0xff];
    return crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) static uint32_t crc32c_by_processor(uint32_t crc, const uint8_t *data,
                                                                       size_t length) {
    uint64_t wide = crc;
    for (; length >= 8; data += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; length > 0; data++, length--)
        crc = _mm_crc32_u8(crc, *data);
    return crc;
}
static int crc32c_has_processor(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
static uint32_t crc32c_by_processor(uint32_t crc, const uint8_t *data, size_t length) {
    for (; length >= 8; data += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        crc = __crc32cd(crc, word);
    }
    for (; length > 0; data++, length--)
        crc = __crc32cb(crc, *data);
    return crc;
}
static int crc32c_has_processor(void) { return 1; }
#else
#define crc32c_by_processor crc32c_by_table
static int crc32c_has_processor(void) { return 0; }
#endif

static crc32c_step_t crc32c_step = crc32c_by_table;

/* Once, before the first use. */
static void crc32c_prepare(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
        crc32c_table[byte] = crc;
    }
    crc32c_step = crc32c_has_processor() ? crc32c_by_processor : crc32c_by_table;
}

static uint32_t crc32c(uint32_t crc, const void *data, size_t length) {
    return ~crc32c_step(~crc, (const uint8_t *)data, length);
}

#endif
