/* A load generator for unary KeyValue calls over cleartext HTTP/2, for what h2load cannot do: a fresh grpc-timeout and
 * traceparent on every call, keys drawn uniformly from a large set, a mix of Get and Set, percentiles, and a check of
 * every status, grpc-status and reply byte.
 *
 * One thread, closed loop: every connection keeps its number of streams in flight. It writes frames itself, so that one
 * core of load can fill one core of a server that takes 2 us a call; response headers are decoded by nghttp2.
 * It must not retry or reconnect: whatever is not an exact reply counts as an error, and the first one is printed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"

enum { GET, SET };
enum { FRESH_NO, FRESH_LITERAL, FRESH_INDEXED };
enum { FRAME_HEAD = 9, MAX_STREAMS = 256, MAX_VALUE = 8192, MAX_REQUEST = MAX_VALUE + 64, READ_SIZE = 1 << 18,
       WRITE_SIZE = 1 << 20, KEY_SIZE = 11, TABLE_SIZE = 4096, ENTRY_OVERHEAD = 32, STATIC_ENTRIES = 61,
       SETTINGS_TABLE_SIZE = 1, SETTINGS_INITIAL_WINDOW = 4, WINDOW = 1 << 30 };
enum header { PATH_GET, PATH_SET, AUTHORITY, TE, CONTENT_TYPE, USER_AGENT, NAMESPACE, TIMEOUT, TRACE, HEADERS };
#define SERVICE "/prism.interfaces.keyvalue.KeyValueBasicInterface/"

struct stream {
    int64_t start;
    uint32_t id; /* 0 = free */
    uint32_t key;
    uint32_t got; /* bytes of the reply so far */
    uint8_t operation;
    bool http_ok, grpc_ok;
    uint8_t *reply;
};

/* A header as last entered into the peer's dynamic table: its sequence number, and the bytes entered before it. */
struct entry {
    int64_t sequence, bytes_before; /* sequence -1 = never entered */
};

struct connection {
    int fd;
    uint32_t next_id;
    int64_t send_window, received;
    bool settled, closing, blocked;
    nghttp2_hd_inflater *inflater;
    struct entry entries[HEADERS];
    int64_t inserted, inserted_bytes;
    unsigned idle;        /* streams not in flight */
    struct stream streams[MAX_STREAMS];
    uint8_t *in, *out;
    size_t in_len, out_len, out_sent;
};

static struct {
    const char *host, *authority; /* authority is HOST:PORT */
    int port, connections, streams, value_size, fresh, set_percent;
    uint32_t keys;
    bool sequential;
    uint64_t calls;
    double seconds;
} options = {.host = "127.0.0.1", .connections = 8, .streams = 10, .value_size = 100, .keys = 1};

static const int64_t SILENCE = 10000000000ll; /* ns without any reply: give up */

static uint64_t issued, completed, errors;
static int64_t now, deadline;
static char first_error[256];
static int poller;
static uint64_t seed = 88172645463325252ull;

__attribute__((format(printf, 1, 2))) static void call_failed(const char *format, ...) {
    if (errors++ == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(first_error, sizeof first_error, format, arguments);
        va_end(arguments);
    }
}

static uint64_t random64(void) { /* xorshift64: fixed seed, so that every server sees the same keys */
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* ---- messages ---- */

static void put_key(uint8_t *p, uint32_t key) { /* "key-0000042" */
    memcpy(p, "key-", 4);
    for (int i = KEY_SIZE - 1; i >= 4; i--, key /= 10) p[i] = (uint8_t)('0' + key % 10);
}

static void put_value(uint8_t *p, uint32_t key) {
    unsigned letter = key % 26;
    for (int i = 0; i < options.value_size; i++) {
        p[i] = (uint8_t)('a' + letter);
        if (++letter == 26) letter = 0;
    }
}

static size_t put_request(uint8_t *p, int operation, uint32_t key) {
    uint8_t *message = p + 5, *q = message;
    *q++ = 0x0a, *q++ = KEY_SIZE;
    put_key(q, key), q += KEY_SIZE;
    if (operation == SET) {
        *q++ = 0x12, q += put_varint(q, (uint32_t)options.value_size);
        put_value(q, key), q += options.value_size;
    }
    return put_prefix(p, (size_t)(q - message)) + (size_t)(q - message);
}

static size_t put_reply(uint8_t *p, int operation, uint32_t key) { /* what a correct server answers */
    uint8_t *message = p + 5, *q = message;
    *q++ = 0x08, *q++ = 1;
    if (operation == GET) {
        *q++ = 0x12, q += put_varint(q, (uint32_t)options.value_size);
        put_value(q, key), q += options.value_size;
    }
    return put_prefix(p, (size_t)(q - message)) + (size_t)(q - message);
}

/* ---- frames out ---- */

static void send_frame(struct connection *c, int type, int flags, uint32_t id, const void *payload, size_t length) {
    put_frame_head(c->out + c->out_len, length, type, flags, id);
    memcpy(c->out + c->out_len + FRAME_HEAD, payload, length);
    c->out_len += FRAME_HEAD + length;
}

static void send_window_update(struct connection *c, uint32_t credit) {
    credit = htonl(credit);
    send_frame(c, FRAME_WINDOW, 0, 0, &credit, 4);
}

static size_t put_hex(uint8_t *p, uint64_t v, int digits) {
    for (int i = digits - 1; i >= 0; i--, v >>= 4) p[i] = (uint8_t)"0123456789abcdef"[v & 15];
    return (size_t)digits;
}

static size_t put_timeout(uint8_t *p) { /* 1 to 9.99 s in microseconds, another one each call */
    return (size_t)sprintf((char *)p, "%uu", 1000000u + (unsigned)(random64() % 8999999u));
}

static size_t put_traceparent(uint8_t *p) {
    size_t n = 0;
    memcpy(p, "00-", 3), n = 3;
    n += put_hex(p + n, random64(), 16), n += put_hex(p + n, random64(), 16), p[n++] = '-';
    n += put_hex(p + n, random64(), 16);
    memcpy(p + n, "-01", 3);
    return n + 3;
}


/* ---- request headers: a small HPACK encoder; a constant header is entered once and is one byte from then on ---- */

static const struct {
    int static_index; /* of the name; 0 = the name is sent */
    const char *name;
} NAMES[HEADERS] = {[PATH_GET] = {4, ":path"}, [PATH_SET] = {4, ":path"}, [AUTHORITY] = {1, ":authority"},
                    [TE] = {0, "te"}, [CONTENT_TYPE] = {31, "content-type"}, [USER_AGENT] = {58, "user-agent"},
                    [NAMESPACE] = {0, "x-namespace"}, [TIMEOUT] = {0, "grpc-timeout"}, [TRACE] = {0, "traceparent"}};

/* Index of the header's entry in the peer's table; 0 when it was never entered or is evicted by now. */
static uint32_t table_index(const struct connection *c, enum header h) {
    const struct entry *e = &c->entries[h];
    if (e->sequence < 0 || c->inserted_bytes - e->bytes_before > TABLE_SIZE) return 0;
    return (uint32_t)(STATIC_ENTRIES + c->inserted - e->sequence);
}

static size_t put_literal(struct connection *c, uint8_t *p, enum header h, const char *value, size_t length,
                          bool enter) {
    uint32_t name = NAMES[h].static_index ? (uint32_t)NAMES[h].static_index : table_index(c, h);
    size_t n = enter ? put_integer(p, 6, 0x40, name) : put_integer(p, 4, 0, name);
    if (name == 0) n += put_string(p + n, NAMES[h].name, strlen(NAMES[h].name));
    n += put_string(p + n, value, length);
    if (enter) {
        c->entries[h] = (struct entry){c->inserted++, c->inserted_bytes};
        c->inserted_bytes += (int64_t)(strlen(NAMES[h].name) + length + ENTRY_OVERHEAD);
    }
    return n;
}

static size_t put_constant(struct connection *c, uint8_t *p, enum header h, const char *value) {
    uint32_t index = table_index(c, h);
    if (index) return put_integer(p, 7, 0x80, index);
    return put_literal(c, p, h, value, strlen(value), true);
}

static size_t put_headers(struct connection *c, uint8_t *p, int operation) {
    size_t n = 0;
    p[n++] = 0x83; /* :method POST */
    p[n++] = 0x86; /* :scheme http */
    if (operation == GET) n += put_constant(c, p + n, PATH_GET, SERVICE "Get");
    else n += put_constant(c, p + n, PATH_SET, SERVICE "Set");
    n += put_constant(c, p + n, AUTHORITY, options.authority);
    n += put_constant(c, p + n, TE, "trailers");
    n += put_constant(c, p + n, CONTENT_TYPE, "application/grpc");
    n += put_constant(c, p + n, USER_AGENT, "prism-load");
    n += put_constant(c, p + n, NAMESPACE, "default");
    if (options.fresh == FRESH_NO) return n;
    char text[64];
    n += put_literal(c, p + n, TIMEOUT, text, put_timeout((uint8_t *)text), options.fresh == FRESH_INDEXED);
    n += put_literal(c, p + n, TRACE, text, put_traceparent((uint8_t *)text), options.fresh == FRESH_INDEXED);
    return n;
}

static bool out_of_calls(void) {
    return (options.calls && issued >= options.calls) || (deadline && now >= deadline);
}

static void start_call(struct connection *c, struct stream *s) {
    s->key = options.sequential ? (uint32_t)(issued % options.keys) : (uint32_t)(random64() % options.keys);
    s->operation = options.set_percent && random64() % 100 < (uint64_t)options.set_percent ? SET : GET;
    s->id = c->next_id, c->next_id += 2;
    s->start = now, s->got = 0, s->http_ok = s->grpc_ok = false;
    uint8_t *head = c->out + c->out_len, *body;
    size_t headers = put_headers(c, head + FRAME_HEAD, s->operation);
    put_frame_head(head, headers, FRAME_HEADERS, END_HEADERS, s->id);
    body = head + FRAME_HEAD + headers;
    size_t length = put_request(body + FRAME_HEAD, s->operation, s->key);
    put_frame_head(body, length, FRAME_DATA, END_STREAM, s->id);
    c->out_len += FRAME_HEAD + headers + FRAME_HEAD + length;
    c->send_window -= (int64_t)length;
    c->idle--, issued++;
}

static void start_calls(struct connection *c) {
    if (!c->settled || c->closing || c->idle == 0) return;
    for (int i = 0; i < options.streams; i++) {
        if (out_of_calls() || c->send_window < MAX_REQUEST || c->out_len > WRITE_SIZE / 2) return;
        if (c->streams[i].id == 0) start_call(c, &c->streams[i]);
    }
}

/* ---- frames in ---- */

static void finish_call(struct connection *c, struct stream *s) {
    uint8_t expected[MAX_REQUEST];
    size_t length = put_reply(expected, s->operation, s->key);
    if (!s->http_ok || !s->grpc_ok)
        call_failed("stream %u: status %s, grpc-status %s", s->id, s->http_ok ? "200" : "not 200",
                    s->grpc_ok ? "0" : "missing or not 0");
    else if (s->got != length || memcmp(s->reply, expected, length) != 0)
        call_failed("stream %u: a reply of %u bytes is not the %zu bytes expected", s->id, s->got, length);
    count_latency(now - s->start);
    completed++;
    s->id = 0;
    c->idle++;
}

static struct stream *find_stream(struct connection *c, uint32_t id) {
    for (int i = 0; i < options.streams; i++)
        if (c->streams[i].id == id) return &c->streams[i];
    return NULL;
}

static void on_headers(struct connection *c, struct stream *s, const uint8_t *p, size_t length) {
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(c->inflater, &nv, &flags, p, length, 1);
        if (n < 0) errno = EPROTO, die("header block");
        p += n, length -= (size_t)n;
        if (s && flags & NGHTTP2_HD_INFLATE_EMIT) {
            if (nv.namelen == 7 && memcmp(nv.name, ":status", 7) == 0)
                s->http_ok = nv.valuelen == 3 && memcmp(nv.value, "200", 3) == 0;
            else if (nv.namelen == 11 && memcmp(nv.name, "grpc-status", 11) == 0)
                s->grpc_ok = nv.valuelen == 1 && nv.value[0] == '0';
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
    }
    nghttp2_hd_inflate_end_headers(c->inflater);
}

static void on_data(struct connection *c, struct stream *s, const uint8_t *p, size_t length) {
    if (s && s->got + length <= MAX_REQUEST) memcpy(s->reply + s->got, p, length);
    if (s) s->got += (uint32_t)length;
    if ((c->received += (int64_t)length) > WINDOW / 2) send_window_update(c, (uint32_t)c->received), c->received = 0;
}

static void on_settings(struct connection *c, const uint8_t *p, size_t length) {
    for (; length >= 6; p += 6, length -= 6) {
        unsigned id = (unsigned)p[0] << 8 | p[1];
        uint32_t value = (uint32_t)p[2] << 24 | (uint32_t)p[3] << 16 | (uint32_t)p[4] << 8 | p[5];
        if ((id == SETTINGS_TABLE_SIZE && value < TABLE_SIZE) || (id == SETTINGS_INITIAL_WINDOW && value < MAX_REQUEST))
            errno = EPROTO, die("the server's SETTINGS are below what this client needs");
    }
    c->settled = true;
    send_frame(c, FRAME_SETTINGS, ACK, 0, "", 0);
}

static void on_frame(struct connection *c, int type, int flags, uint32_t id, const uint8_t *p, size_t length) {
    struct stream *s = id ? find_stream(c, id) : NULL;
    if (type == FRAME_HEADERS || type == FRAME_DATA) {
        if (flags & (PADDED | PRIORITY)) {
            size_t pad = flags & PADDED ? p[0] : 0, skip = (flags & PADDED ? 1 : 0) + (flags & PRIORITY ? 5 : 0);
            p += skip, length -= skip + pad;
        }
        if (type == FRAME_HEADERS && !(flags & END_HEADERS)) errno = EPROTO, die("CONTINUATION is not supported");
        if (type == FRAME_HEADERS) on_headers(c, s, p, length);
        else on_data(c, s, p, length);
        if (s && flags & END_STREAM) finish_call(c, s);
    } else if (type == FRAME_SETTINGS && !(flags & ACK)) {
        on_settings(c, p, length);
    } else if (type == FRAME_WINDOW && id == 0) {
        c->send_window += (int64_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
    } else if (type == FRAME_PING && !(flags & ACK)) {
        send_frame(c, FRAME_PING, ACK, 0, p, length);
    } else if (type == FRAME_RST && s) {
        s->http_ok = false;
        finish_call(c, s);
    } else if (type == FRAME_GOAWAY) {
        c->closing = true;
    }
}

static void parse(struct connection *c) {
    size_t at = 0;
    while (c->in_len - at >= FRAME_HEAD) {
        const uint8_t *p = c->in + at;
        size_t length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (c->in_len - at < FRAME_HEAD + length) break;
        uint32_t id = ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) & 0x7fffffff;
        on_frame(c, p[3], p[4], id, p + FRAME_HEAD, length);
        at += FRAME_HEAD + length;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

/* ---- sockets ---- */

static void watch(struct connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event) < 0) die("epoll_ctl");
}

static void flush(struct connection *c) {
    while (c->out_sent < c->out_len) {
        ssize_t n = write(c->fd, c->out + c->out_sent, c->out_len - c->out_sent);
        if (n < 0 && errno != EAGAIN) die("write");
        if (n < 0) break;
        c->out_sent += (size_t)n;
    }
    bool blocked = c->out_sent < c->out_len;
    if (!blocked) c->out_sent = c->out_len = 0;
    if (blocked != c->blocked) watch(c, EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->blocked = blocked;
}

static bool receive(struct connection *c) {
    ssize_t n = read(c->fd, c->in + c->in_len, READ_SIZE - c->in_len);
    if (n < 0 && errno == EAGAIN) return flush(c), true;
    if (n <= 0) {
        if (c->idle != (unsigned)options.streams) call_failed("the server closed a connection with calls in flight");
        return false;
    }
    c->in_len += (size_t)n;
    now = clock_ns();
    parse(c);
    start_calls(c);
    flush(c);
    return true;
}

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    int on = 1;
    inet_pton(AF_INET, options.host, &address.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in = malloc(READ_SIZE), c->out = malloc(WRITE_SIZE);
    for (int i = 0; i < options.streams; i++) c->streams[i].reply = malloc(MAX_REQUEST);
    for (int i = 0; i < HEADERS; i++) c->entries[i].sequence = -1;
    c->next_id = 1, c->send_window = 65535, c->idle = (unsigned)options.streams;
    if (nghttp2_hd_inflate_new(&c->inflater) != 0) die("nghttp2_hd_inflate_new");
    static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    memcpy(c->out, PREFACE, sizeof PREFACE - 1);
    c->out_len = sizeof PREFACE - 1;
    uint8_t settings[12] = {0, 2, 0, 0, 0, 0, 0, SETTINGS_INITIAL_WINDOW, 0x3f, 0xff, 0xff, 0xff}; /* no push */
    send_frame(c, FRAME_SETTINGS, 0, 0, settings, sizeof settings);
    send_window_update(c, WINDOW - 65535);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    flush(c);
}

static bool finished(int open) {
    return open == 0 || (out_of_calls() && completed == issued);
}

static void run(void) {
    int open = options.connections;
    poller = epoll_create1(0);
    struct connection *all = calloc((size_t)options.connections, sizeof *all);
    for (int i = 0; i < options.connections; i++) open_connection(&all[i]);
    int64_t last = now;
    for (uint64_t before = 0; !finished(open);) {
        struct epoll_event events[64];
        int n = epoll_wait(poller, events, 64, 100);
        now = clock_ns();
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (receive(c)) continue;
            close(c->fd);
            open--;
        }
        if (completed != before) before = completed, last = now;
        if (now - last > SILENCE) {
            call_failed("no reply for 10 s with %llu calls in flight", (unsigned long long)(issued - completed));
            break;
        }
    }
}

static void parse_options(int argc, char **argv) {
    static const struct option LONG[] = {
        {"connections", 1, 0, 'c'}, {"streams", 1, 0, 'm'}, {"calls", 1, 0, 'n'}, {"seconds", 1, 0, 'D'},
        {"keys", 1, 0, 'k'}, {"set-percent", 1, 0, 's'}, {"value-size", 1, 0, 'v'}, {"fresh", 1, 0, 'f'},
        {"sequential", 0, 0, 'q'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", LONG, NULL)) != -1;) {
        if (o == 'c') options.connections = atoi(optarg);
        else if (o == 'm') options.streams = atoi(optarg);
        else if (o == 'n') options.calls = strtoull(optarg, NULL, 10);
        else if (o == 'D') options.seconds = atof(optarg);
        else if (o == 'k') options.keys = (uint32_t)atol(optarg);
        else if (o == 's') options.set_percent = atoi(optarg);
        else if (o == 'v') options.value_size = atoi(optarg);
        else if (o == 'q') options.sequential = true;
        else if (o == 'f') options.fresh = strcmp(optarg, "indexed") == 0 ? FRESH_INDEXED : FRESH_LITERAL;
        else exit(2);
    }
    options.authority = argv[optind];
    char *colon = options.authority ? strchr(options.authority, ':') : NULL;
    bool bounded = options.calls || options.seconds > 0;
    if (!colon || !bounded || options.streams > MAX_STREAMS || options.value_size > MAX_VALUE) {
        fputs("usage: prism_load [--connections N] [--streams N] --calls N|--seconds S [--keys N] [--set-percent N]\n"
              "  [--value-size BYTES] [--fresh literal|indexed] [--sequential] IPV4:PORT\n", stderr);
        exit(2);
    }
    options.host = strndup(options.authority, (size_t)(colon - options.authority));
    options.port = atoi(colon + 1);
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    int64_t begin = now = clock_ns();
    if (options.seconds > 0) deadline = begin + (int64_t)(options.seconds * 1e9);
    run();
    double elapsed = (double)(clock_ns() - begin) / 1e9;
    printf("{\"calls\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, \"first_error\": \"%s\"}\n",
           (unsigned long long)completed, (unsigned long long)errors, elapsed,
           percentile_us(0.5, completed), percentile_us(0.99, completed),
           percentile_us(0.999, completed), (double)latency_max / 1e3, first_error);
    return errors || completed == 0;
}
