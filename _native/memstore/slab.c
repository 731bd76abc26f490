#include "memstore/slab.h"

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { SLAB_BYTES = 256 * 1024, PAGE = 4096, HEADER = 64, KEPT_EMPTY = 4 };

struct slab {
    slab_t *next, *previous;
    void *free; /* freed blocks, linked through their first word */
    uint32_t used, fresh, capacity, size;
};

/* Size class of 0 < n <= SLAB_LARGEST, and its block size: steps of 16 to 128 bytes, then four to each doubling. */
static unsigned class_of(size_t n, size_t *size) {
    if (n <= 128) {
        unsigned steps = (unsigned)((n + 15) / 16);
        *size = steps * 16;
        return steps - 1;
    }
    unsigned log = 63 - (unsigned)__builtin_clzll(n - 1);
    size_t base = (size_t)1 << log, step = base >> 2;
    unsigned quarter = (unsigned)((n - 1 - base) / step);
    *size = base + step * (quarter + 1);
    return 8 + (log - 7) * 4 + quarter;
}

size_t slab_rounded(size_t n) {
    size_t size;
    if (n > SLAB_LARGEST) return (n + PAGE - 1) & ~(size_t)(PAGE - 1);
    class_of(n ? n : 1, &size);
    return size;
}

static int may_reserve(const slabs_t *s, size_t n) { return !s->limit || s->reserved + n <= s->limit; }

static void *map_pages(size_t n) {
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* 256 KiB aligned to their size. The kernel places mappings side by side, so the first try mostly fits. */
static slab_t *map_slab(void) {
    uint8_t *p = map_pages(SLAB_BYTES);
    if (!p || ((uintptr_t)p & (SLAB_BYTES - 1)) == 0) return (slab_t *)p;
    munmap(p, SLAB_BYTES);
    p = map_pages(2 * SLAB_BYTES);
    if (!p) return NULL;
    size_t head = (size_t)(-(uintptr_t)p & (SLAB_BYTES - 1));
    if (head) munmap(p, head);
    munmap(p + head + SLAB_BYTES, SLAB_BYTES - head);
    return (slab_t *)(p + head);
}

static void link_open(slabs_t *s, unsigned class, slab_t *slab) {
    slab->previous = NULL;
    slab->next = s->open[class];
    if (slab->next) slab->next->previous = slab;
    s->open[class] = slab;
}

static void unlink_open(slabs_t *s, unsigned class, slab_t *slab) {
    if (slab->next) slab->next->previous = slab->previous;
    if (slab->previous)
        slab->previous->next = slab->next;
    else
        s->open[class] = slab->next;
}

static slab_t *open_slab(slabs_t *s, unsigned class, size_t size) {
    slab_t *slab = s->empty;
    if (slab) {
        s->empty = slab->next;
        s->empties--;
    } else {
        slab = may_reserve(s, SLAB_BYTES) ? map_slab() : NULL;
        if (!slab) return NULL;
        s->reserved += SLAB_BYTES;
    }
    slab->free = NULL;
    slab->used = slab->fresh = 0;
    slab->size = (uint32_t)size;
    slab->capacity = (uint32_t)((SLAB_BYTES - HEADER) / size);
    POISON((uint8_t *)slab + HEADER, SLAB_BYTES - HEADER);
    link_open(s, class, slab);
    return slab;
}

void *slab_alloc(slabs_t *s, size_t n) {
    size_t size;
    void *block;
    if (n > SLAB_LARGEST) {
        size = slab_rounded(n);
        block = may_reserve(s, size) ? map_pages(size) : NULL;
        if (!block) return NULL;
        s->reserved += size;
        s->used += size;
        return block;
    }
    unsigned class = class_of(n ? n : 1, &size);
    slab_t *slab = s->open[class];
    if (!slab && !(slab = open_slab(s, class, size))) return NULL;
    block = slab->free;
    if (block) {
        UNPOISON(block, size);
        slab->free = *(void **)block;
    } else {
        block = (uint8_t *)slab + HEADER + (size_t)slab->fresh++ * size;
        UNPOISON(block, size);
    }
    if (++slab->used == slab->capacity) unlink_open(s, class, slab);
    s->used += size;
    return block;
}

static void slab_emptied(slabs_t *s, unsigned class, slab_t *slab) {
    unlink_open(s, class, slab);
    if (s->empties >= KEPT_EMPTY) {
        UNPOISON(slab, SLAB_BYTES);
        if (munmap(slab, SLAB_BYTES) == 0) {
            s->reserved -= SLAB_BYTES;
            return;
        } /* refused when it would split one mapping too many: keep it for reuse */
    }
    slab->next = s->empty;
    s->empty = slab;
    s->empties++;
}

void slab_free(slabs_t *s, void *block, size_t n) {
    size_t size;
    if (n > SLAB_LARGEST) {
        size = slab_rounded(n);
        if (munmap(block, size)) madvise(block, size, MADV_DONTNEED); /* too many mappings: only addresses are lost */
        s->reserved -= size;
        s->used -= size;
        return;
    }
    unsigned class = class_of(n ? n : 1, &size);
    slab_t *slab = (slab_t *)((uintptr_t)block & ~(uintptr_t)(SLAB_BYTES - 1));
    if (slab->used == slab->capacity) link_open(s, class, slab);
    *(void **)block = slab->free;
    slab->free = block;
    POISON(block, size);
    s->used -= size;
    if (--slab->used == 0) slab_emptied(s, class, slab);
}

void slab_close(slabs_t *s) {
    while (s->empty) {
        slab_t *slab = s->empty;
        s->empty = slab->next;
        UNPOISON(slab, SLAB_BYTES);
        munmap(slab, SLAB_BYTES);
        s->reserved -= SLAB_BYTES;
    }
    s->empties = 0;
}
