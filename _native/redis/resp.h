/* RESP, the protocol of Redis: finds the end of a reply in bytes that arrive in pieces, without copying or looking twice.
 *
 * Versions 2 and 3. A scalar is handed out decoded; an aggregate as its raw bytes, for callers that want its elements. */
#ifndef PRISM_RESP_H
#define PRISM_RESP_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { RESP_BAD = -1, RESP_MORE = 0, RESP_REPLY = 1, RESP_LARGE = 2 };
enum { RESP_MAX_LINE = 64 * 1024, RESP_MAX_ELEMENTS = 1 << 24 };

/* `type` is + - : $ # , ( or _ for scalars (errors of either form are -, nulls of any form are _), or the type of an
 * aggregate: * % ~ >. For an aggregate `data` is all of it, head included. */
typedef struct {
    char type;
    int64_t integer;
    const uint8_t *data;
    size_t length;
} resp_reply_t;

/* How far the reply at the front has been looked at. All zero before each reply. */
typedef struct {
    size_t at;
    int64_t open;   /* elements still to come; 0 before the first */
    size_t need;    /* bytes there must be before it is worth looking again */
} resp_scan_t;

static inline int resp_number(const uint8_t *from, const uint8_t *to, int64_t *out) {
    int negative = from < to && *from == '-';
    int64_t value = 0;
    if (negative || (from < to && *from == '+')) from++;
    if (from == to || to - from > 18) return -1;
    for (; from < to; from++) {
        if (*from < '0' || *from > '9') return -1;
        value = value * 10 + (*from - '0');
    }
    *out = negative ? -value : value;
    return 0;
}

/* One element at data[at..n): RESP_REPLY with its size and, where it is no aggregate, its value; RESP_MORE when more
 * bytes are needed (`*need`, counted from `data`), RESP_BAD when malformed. A string of more than `most` bytes is
 * RESP_LARGE: `integer` is its length, and `*end` where it begins, whether its bytes are there or not. `*children` is
 * what an aggregate holds. */
static inline int resp_element(const uint8_t *data, size_t n, size_t at, size_t most, resp_reply_t *out, size_t *end,
                               int64_t *children, size_t *need) {
    const uint8_t *line, *stop;
    int64_t number;
    *children = 0;
    if (at >= n) {
        *need = at + 3;
        return RESP_MORE;
    }
    stop = memchr(data + at, '\n', n - at);
    if (!stop) {
        *need = n + 1;
        return n - at > RESP_MAX_LINE ? RESP_BAD : RESP_MORE;
    }
    line = data + at + 1;
    if (stop == data + at || stop == line || stop[-1] != '\r') return RESP_BAD;
    stop--;
    *end = (size_t)(stop - data) + 2;
    out->type = (char)data[at];
    out->data = line;
    out->length = (size_t)(stop - line);
    switch (out->type) {
    case '+': case '-': case ',': case '(':
        return RESP_REPLY;
    case ':':
        return resp_number(line, stop, &out->integer) ? RESP_BAD : RESP_REPLY;
    case '#':
        if (stop - line != 1 || (*line != 't' && *line != 'f')) return RESP_BAD;
        out->integer = *line == 't';
        return RESP_REPLY;
    case '_':
        return stop == line ? RESP_REPLY : RESP_BAD;
    case '$': case '!': case '=':
        if (resp_number(line, stop, &number)) return RESP_BAD;
        if (number == -1 && out->type == '$') {
            out->type = '_';
            return RESP_REPLY;
        }
        if (number < 0 || number > INT32_MAX) return RESP_BAD;
        if ((size_t)number > most) {
            out->integer = number;
            return RESP_LARGE;
        }
        if (n - *end < (size_t)number + 2) {
            *need = *end + (size_t)number + 2;
            return RESP_MORE;
        }
        out->data = data + *end;
        out->length = (size_t)number;
        *end += (size_t)number + 2;
        if (data[*end - 2] != '\r' || data[*end - 1] != '\n') return RESP_BAD;
        if (out->type == '!') out->type = '-';
        if (out->type == '=') {     /* verbatim text: a format of three letters and a colon stand before it */
            if (out->length < 4 || out->data[3] != ':') return RESP_BAD;
            out->type = '$';
            out->data += 4;
            out->length -= 4;
        }
        return RESP_REPLY;
    case '*': case '~': case '>': case '%':
        if (resp_number(line, stop, &number)) return RESP_BAD;
        if (number == -1 && out->type == '*') {
            out->type = '_';
            return RESP_REPLY;
        }
        if (number < 0 || number > RESP_MAX_ELEMENTS) return RESP_BAD;
        *children = out->type == '%' ? 2 * number : number;
        return RESP_REPLY;
    default:
        return RESP_BAD;
    }
}

/* The reply at the front of `data`: RESP_REPLY with its size in `*end`, RESP_MORE, or RESP_BAD. RESP_LARGE when the
 * element at `scan->at` is a string of more than `most` bytes, or would make the reply one of more than `most_all`; its
 * head ends at `*end`, and `out->integer` is its length. */
static inline int resp_next(const uint8_t *data, size_t n, size_t most, size_t most_all, resp_scan_t *scan,
                            resp_reply_t *out, size_t *end) {
    resp_reply_t element = {0};
    int64_t children;
    int rc;
    if (n < scan->need) return RESP_MORE;
    if (!scan->open) scan->open = 1;
    while (scan->open) {
        int first = scan->at == 0;
        size_t room = scan->at < most_all ? most_all - scan->at : 0;
        rc = resp_element(data, n, scan->at, most < room ? most : room, &element, end, &children, &scan->need);
        if (rc == RESP_LARGE) out->integer = element.integer;
        if (rc != RESP_REPLY) return rc;
        scan->open += children - 1;
        if (scan->open > RESP_MAX_ELEMENTS) return RESP_BAD;
        if (first && children == 0 && scan->open == 0 && element.type != '*' && element.type != '%' &&
            element.type != '~' && element.type != '>') {
            *out = element;     /* a scalar alone: the usual case */
            memset(scan, 0, sizeof *scan);
            return RESP_REPLY;
        }
        scan->at = *end;
    }
    out->type = (char)data[0];
    out->data = data;
    out->length = scan->at;
    *end = scan->at;
    memset(scan, 0, sizeof *scan);
    return RESP_REPLY;
}

/* Decimal digits of `value` at `out` (at most 20); where they end. */
static inline uint8_t *resp_put_number(uint8_t *out, uint64_t value) {
    uint8_t digits[20];
    int n = 0;
    do {
        digits[n++] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value);
    while (n) *out++ = digits[--n];
    return out;
}
#endif
