/* The memory of one store: size classes carved from aligned 256 KiB slabs, larger blocks mapped on their own.
 *
 * Not malloc, for two reasons. glibc may settle the debts of a million small frees, or give a large heap top back to
 * the kernel, within one later call, which would hold the loop for tens of milliseconds; here every call is bounded.
 * And `used` is exact: what the store is charged is what it occupies, size-class rounding included. */
#ifndef PRISM_MEMSTORE_SLAB_H
#define PRISM_MEMSTORE_SLAB_H
#include <stddef.h>
#include <stdint.h>

#define SLAB_CLASSES 40
#define SLAB_LARGEST (32 * 1024) /* bytes; larger blocks are mapped */

typedef struct slab slab_t;

typedef struct {
    slab_t *open[SLAB_CLASSES]; /* slabs with room, by size class */
    slab_t *empty;              /* kept against thrashing */
    unsigned empties;
    size_t used;     /* bytes of live blocks, rounded as allocated */
    size_t reserved; /* bytes mapped */
    size_t limit;    /* of reserved; 0 = none */
} slabs_t;

/* Bytes a block of n is charged. */
size_t slab_rounded(size_t n);
/* NULL without memory, or at the limit. */
void *slab_alloc(slabs_t *s, size_t n);
/* n as given to slab_alloc, or any size that rounds equally. */
void slab_free(slabs_t *s, void *block, size_t n);
/* Unmap what is kept; every block must have been freed. */
void slab_close(slabs_t *s);
#endif
