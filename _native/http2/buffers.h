/* Byte buffers of the native server: a growable buffer, and chunks that queue outgoing bytes without copying. */
#ifndef PRISM_BUFFERS_H
#define PRISM_BUFFERS_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *data;
    size_t length;
    size_t capacity;
} buffer_t;

/* Room for `extra` more bytes; grows by doubling, so held memory stays within twice the content. 0, or -1 without memory. */
static inline int buffer_reserve(buffer_t *b, size_t extra) {
    size_t need = b->length + extra;
    if (need <= b->capacity) return 0;
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity < need) capacity *= 2;
    uint8_t *data = realloc(b->data, capacity);
    if (!data) return -1;
    b->data = data;
    b->capacity = capacity;
    return 0;
}

static inline int buffer_append(buffer_t *b, const void *bytes, size_t n) {
    if (buffer_reserve(b, n)) return -1;
    if (n) memcpy(b->data + b->length, bytes, n); /* no bytes may come as NULL */
    b->length += n;
    return 0;
}

static inline void buffer_free(buffer_t *b) {
    free(b->data);
    b->data = NULL;
    b->length = b->capacity = 0;
}

/* A run of outgoing bytes. The bytes follow the struct when `owner` is NULL, and belong to `owner` otherwise. */
typedef struct chunk {
    struct chunk *next;
    const uint8_t *data;
    size_t length;
    size_t offset;
    void *owner;
    void (*release)(void *owner);
} chunk_t;

static inline chunk_t *chunk_new(size_t n) {
    chunk_t *c = malloc(sizeof(chunk_t) + n);
    if (!c) return NULL;
    c->next = NULL;
    c->data = (const uint8_t *)(c + 1);
    c->length = n;
    c->offset = 0;
    c->owner = NULL;
    c->release = NULL;
    return c;
}

static inline chunk_t *chunk_borrow(const uint8_t *data, size_t n, void *owner, void (*release)(void *)) {
    chunk_t *c = chunk_new(0);
    if (!c) return NULL;
    c->data = data;
    c->length = n;
    c->owner = owner;
    c->release = release;
    return c;
}

static inline void chunk_free(chunk_t *c) {
    if (c->release) c->release(c->owner);
    free(c);
}

/* All chunks of a queue. */
static inline void chunks_free(chunk_t *head) {
    while (head) {
        chunk_t *next = head->next;
        chunk_free(head);
        head = next;
    }
}

/* Copy the first n bytes of a queue, which has them, and free the chunks that end with them. */
static inline void chunks_take(chunk_t **head, chunk_t **tail, uint8_t *out, size_t n) {
    while (n) {
        chunk_t *chunk = *head;
        size_t piece = chunk->length - chunk->offset;
        if (piece > n) piece = n;
        memcpy(out, chunk->data + chunk->offset, piece);
        out += piece;
        n -= piece;
        chunk->offset += piece;
        if (chunk->offset == chunk->length) {
            *head = chunk->next;
            if (!*head) *tail = NULL;
            chunk_free(chunk);
        }
    }
}

static inline uint8_t *chunk_bytes(chunk_t *c) { return (uint8_t *)(c + 1); }
#endif
