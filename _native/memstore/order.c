#include "memstore/order.h"

#include <string.h>

enum { FAN = 62, MAX_HEIGHT = 16, SPARSE = FAN / 4, MERGED = FAN * 3 / 4 };

/* Inner nodes have `count` children; keys[i] (own copies) is a lower bound of child i and keys[0] is unused. */
struct node {
    node_t *next;   /* leaves: the one to the right */
    uint32_t skip;  /* leading bytes shared by all keys of this node */
    uint16_t count;
    uint16_t level; /* 0 = leaf */
    uint64_t heads[FAN]; /* 8 bytes after the shared ones, big-endian, zero-padded */
    skey_t *keys[FAN];
    node_t *children[]; /* inner nodes: FAN of them */
};

typedef struct {
    node_t *node[MAX_HEIGHT]; /* by level */
    unsigned index[MAX_HEIGHT];
} path_t;

static size_t node_size(unsigned level) { return sizeof(node_t) + (level ? FAN * sizeof(node_t *) : 0); }

static node_t *node_new(order_t *o, unsigned level) {
    node_t *n = slab_alloc(o->slabs, node_size(level));
    if (!n) return NULL;
    n->next = NULL;
    n->skip = 0;
    n->count = 0;
    n->level = (uint16_t)level;
    return n;
}

static void node_free(order_t *o, node_t *n) { slab_free(o->slabs, n, node_size(n->level)); }

static void separator_free(order_t *o, skey_t *key) { slab_free(o->slabs, key, sizeof(skey_t) + key->length); }

static inline unsigned first_of(const node_t *n) { return n->level ? 1 : 0; }

static int compare(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
    int r = memcmp(a, b, an < bn ? an : bn);
    return r ? r : (an > bn) - (an < bn);
}

static size_t shared_prefix(const skey_t *a, const skey_t *b) {
    size_t i = 0, n = a->length < b->length ? a->length : b->length;
    for (uint64_t x, y; i + 8 <= n; i += 8) {
        memcpy(&x, a->bytes + i, 8);
        memcpy(&y, b->bytes + i, 8);
        if (x != y) break;
    }
    while (i < n && a->bytes[i] == b->bytes[i]) i++;
    return i;
}

static inline uint64_t head_of(const uint8_t *bytes, size_t n) {
    uint64_t word = 0;
    if (n >= 8) {
        memcpy(&word, bytes, 8);
        return __builtin_bswap64(word);
    }
    for (size_t i = 0; i < n; i++) word |= (uint64_t)bytes[i] << (56 - 8 * i);
    return word;
}

static void refresh(node_t *n) {
    unsigned first = first_of(n);
    if (n->count <= first) return;
    n->skip = (uint32_t)shared_prefix(n->keys[first], n->keys[n->count - 1]);
    for (unsigned i = first; i < n->count; i++)
        n->heads[i] = head_of(n->keys[i]->bytes + n->skip, n->keys[i]->length - n->skip);
}

/* Index of the first key >= the given one, or > it when `after`. */
static unsigned search(const node_t *n, const uint8_t *key, size_t length, int after) {
    unsigned low = first_of(n), high = n->count;
    if (low >= high) return low;
    size_t skip = n->skip;
    int r = memcmp(key, n->keys[low]->bytes, length < skip ? length : skip);
    if (r > 0) return high;
    if (r < 0 || length < skip) return low;
    uint64_t head = head_of(key + skip, length - skip);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int less = n->heads[middle] < head;
        if (n->heads[middle] == head) {
            const skey_t *k = n->keys[middle];
            less = compare(k->bytes + skip, k->length - skip, key + skip, length - skip) < after;
        }
        if (less)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The leaf where the key belongs; fills the path. The index in the leaf is that of `search`. */
static node_t *descend(const order_t *o, const uint8_t *key, size_t length, int after, path_t *path) {
    node_t *n = o->root;
    for (; n->level; n = n->children[path->index[n->level]]) {
        path->node[n->level] = n;
        path->index[n->level] = search(n, key, length, 1) - 1;
    }
    path->node[0] = n;
    path->index[0] = search(n, key, length, after);
    return n;
}

static void node_insert(node_t *n, unsigned at, skey_t *key, node_t *child) {
    unsigned first = first_of(n), tail = n->count - at;
    memmove(&n->heads[at + 1], &n->heads[at], tail * sizeof(n->heads[0]));
    memmove(&n->keys[at + 1], &n->keys[at], tail * sizeof(n->keys[0]));
    n->keys[at] = key;
    if (n->level) {
        memmove(&n->children[at + 1], &n->children[at], tail * sizeof(n->children[0]));
        n->children[at] = child;
    }
    n->count++;
    /* Only a key at either end can share less than the others do. */
    if (at == first || at == n->count - 1u) {
        skey_t *other = n->keys[at == first ? n->count - 1u : first];
        if (other == key || key->length < n->skip || memcmp(key->bytes, other->bytes, n->skip) != 0) {
            refresh(n);
            return;
        }
    }
    n->heads[at] = head_of(key->bytes + n->skip, key->length - n->skip);
}

static void node_remove(node_t *n, unsigned at) {
    unsigned tail = --n->count - at;
    memmove(&n->heads[at], &n->heads[at + 1], tail * sizeof(n->heads[0]));
    memmove(&n->keys[at], &n->keys[at + 1], tail * sizeof(n->keys[0]));
    if (n->level) memmove(&n->children[at], &n->children[at + 1], tail * sizeof(n->children[0]));
}

/* Move what is at `from` and after to the end of another node of the level. */
static void node_move(node_t *to, node_t *n, unsigned from) {
    unsigned moved = n->count - from;
    memcpy(&to->keys[to->count], &n->keys[from], moved * sizeof(n->keys[0]));
    if (n->level) memcpy(&to->children[to->count], &n->children[from], moved * sizeof(n->children[0]));
    to->count = (uint16_t)(to->count + moved);
    n->count = (uint16_t)from;
}

int order_open(order_t *o, slabs_t *slabs) {
    o->slabs = slabs;
    o->root = node_new(o, 0);
    return o->root ? 0 : -1;
}

void order_close(order_t *o) {
    node_free(o, o->root);
    o->root = NULL;
}

/* The shortest key above `left` and not above `right`. */
static skey_t *separator_new(order_t *o, const skey_t *left, const skey_t *right) {
    size_t length = shared_prefix(left, right) + 1;
    skey_t *key = slab_alloc(o->slabs, sizeof(skey_t) + length);
    if (!key) return NULL;
    key->length = (uint32_t)length;
    memcpy(key->bytes, right->bytes, length);
    return key;
}

/* Everything a split up the path needs, allocated before anything changes. */
typedef struct {
    node_t *node[MAX_HEIGHT + 1]; /* the right half of each level; above the last, a new root */
    skey_t *separator;
} spares_t;

static void spares_free(order_t *o, spares_t *s) {
    for (unsigned i = 0; i <= MAX_HEIGHT; i++)
        if (s->node[i]) node_free(o, s->node[i]);
    if (s->separator) separator_free(o, s->separator);
}

static int spares_alloc(order_t *o, const path_t *path, spares_t *s) {
    unsigned level = 0, top = o->root->level;
    for (; level <= top && path->node[level]->count == FAN; level++)
        if (!(s->node[level] = node_new(o, level))) return -1;
    return level > top && !(s->node[level] = node_new(o, level)) ? -1 : 0;
}

/* Insert (separator, right) above `level`, splitting full nodes with the spares. */
static void insert_above(order_t *o, const path_t *path, spares_t *s, unsigned level, skey_t *separator, node_t *right) {
    for (level++;; level++) {
        if (level > o->root->level) {
            node_t *root = s->node[level];
            root->children[0] = o->root;
            root->count = 1;
            node_insert(root, 1, separator, right);
            o->root = root;
            return;
        }
        node_t *n = path->node[level];
        unsigned at = path->index[level] + 1;
        if (n->count < FAN) {
            node_insert(n, at, separator, right);
            return;
        }
        node_t *half = s->node[level];
        unsigned middle = FAN / 2;
        skey_t *rising = n->keys[middle];
        node_move(half, n, middle);
        refresh(n);
        refresh(half);
        if (at <= middle)
            node_insert(n, at, separator, right);
        else
            node_insert(half, at - middle, separator, right);
        separator = rising;
        right = half;
    }
}

int order_insert(order_t *o, skey_t *key) {
    path_t path;
    spares_t spares = {{NULL}, NULL};
    node_t *leaf = descend(o, key->bytes, key->length, 0, &path);
    unsigned at = path.index[0];
    if (leaf->count < FAN) {
        node_insert(leaf, at, key, NULL);
        return 0;
    }
    /* Appending to the last leaf leaves it full, so ascending keys fill every node. */
    int appending = at == FAN && !leaf->next;
    unsigned middle = appending ? FAN : FAN / 2;
    if (!spares_alloc(o, &path, &spares))
        spares.separator = separator_new(o, leaf->keys[middle - 1], appending ? key : leaf->keys[middle]);
    if (!spares.separator) {
        spares_free(o, &spares);
        return -1;
    }
    node_t *half = spares.node[0];
    skey_t *separator = spares.separator;
    node_move(half, leaf, middle);
    half->next = leaf->next;
    leaf->next = half;
    refresh(leaf);
    refresh(half);
    if (compare(key->bytes, key->length, separator->bytes, separator->length) < 0)
        node_insert(leaf, at, key, NULL);
    else
        node_insert(half, at - middle, key, NULL);
    insert_above(o, &path, &spares, 0, separator, half);
    return 0;
}

/* Do children i - 1 and i fit well into one node? */
static int mergeable(const node_t *parent, unsigned i) {
    return i > 0 && i < parent->count && parent->children[i - 1]->count + parent->children[i]->count <= MERGED;
}

/* Merge a sparse node with a neighbour under the same parent. True when the parent lost a child. */
static int merge(order_t *o, const path_t *path, unsigned level) {
    node_t *parent = path->node[level + 1];
    unsigned i = path->index[level + 1], r = mergeable(parent, i + 1) ? i + 1 : i;
    if (path->node[level]->count >= SPARSE || !mergeable(parent, r)) return 0;
    node_t *left = parent->children[r - 1], *right = parent->children[r];
    skey_t *separator = parent->keys[r];
    if (level)
        right->keys[0] = separator; /* now bounds the first child moved */
    else
        separator_free(o, separator);
    node_move(left, right, 0);
    left->next = right->next;
    refresh(left);
    node_free(o, right);
    node_remove(parent, r);
    return 1;
}

/* The leaf to the left of the path's; NULL for the first. */
static node_t *leaf_before(const order_t *o, const path_t *path) {
    for (unsigned level = 1; level <= o->root->level; level++) {
        if (path->index[level] == 0) continue;
        node_t *n = path->node[level]->children[path->index[level] - 1];
        while (n->level) n = n->children[n->count - 1];
        return n;
    }
    return NULL;
}

/* Remove the path's empty leaf, and the nodes above that have no other child. Returns the level that lost one. */
static unsigned remove_leaf(order_t *o, const path_t *path) {
    node_t *before = leaf_before(o, path);
    if (before) before->next = path->node[0]->next;
    unsigned level = 1;
    for (; path->node[level]->count == 1; level++) node_free(o, path->node[level - 1]);
    node_free(o, path->node[level - 1]);
    node_t *n = path->node[level];
    unsigned i = path->index[level];
    if (i == 0) { /* the first child has no separator: drop the second's, and put the second in its place */
        n->children[0] = n->children[1];
        i = 1;
    }
    separator_free(o, n->keys[i]);
    node_remove(n, i);
    return level;
}

void order_remove(order_t *o, skey_t *key) {
    path_t path;
    node_t *leaf = descend(o, key->bytes, key->length, 0, &path);
    node_remove(leaf, path.index[0]);
    unsigned level = leaf->count || !o->root->level ? 0 : remove_leaf(o, &path);
    for (; level < o->root->level && merge(o, &path, level);) level++;
    while (o->root->level && o->root->count == 1) {
        node_t *root = o->root;
        o->root = root->children[0];
        node_free(o, root);
    }
}

order_at_t order_seek(const order_t *o, const uint8_t *key, size_t length, int after) {
    path_t path;
    order_at_t at;
    at.leaf = descend(o, key, length, after, &path);
    at.index = path.index[0];
    return at;
}

skey_t *order_next(order_at_t *at) {
    if (at->index == at->leaf->count) {
        if (!at->leaf->next) return NULL;
        at->leaf = at->leaf->next;
        at->index = 0;
    }
    return at->leaf->keys[at->index++];
}
