/* A load generator for messaging over cleartext HTTP/2: publishers, subscribers, and consumers of a queue, in one
 * thread, so that one core of load fills one core of a server. It keeps a bounded number of messages between the
 * publishers and the subscribers, and every message must arrive: what is missing, doubled or changed is an error.
 *
 *   message_load MODE [options] IPV4:PORT
 *   set       unary KeyValue Set, for a ratio in the same run
 *   publish   unary Publish            enqueue  unary Enqueue
 *   batch     unary PublishBatch       fill     unary EnqueueBatch
 *   stream    PublishStream            consume  DequeueWithTimeout, then ReleaseBatch of what it leased
 *
 * Each publishing mode takes --subscribers. A payload begins with the time it was sent at, for the latency. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"
#include <nghttp2/nghttp2.h>

enum { MAX_STREAMS = 1024, READ_SIZE = 1 << 20, WRITE_SIZE = 1 << 22, WINDOW = 1 << 30, STREAM_CREDIT = 1 << 24,
       MAX_BODY = 1 << 21 };
enum mode { SET, PUBLISH, BATCH, STREAM, ENQUEUE, FILL, CONSUME, MODES };
enum kind { UNARY, PUBLISHING, SUBSCRIBING, LEASING, RELEASING };

#define PUBSUB "/prism.interfaces.pubsub.PubSub"
#define QUEUE "/prism.interfaces.queue.Queue"
static const struct { const char *name, *path; } MODE[MODES] = {
    [SET] = {"set", "/prism.interfaces.keyvalue.KeyValueBasicInterface/Set"},
    [PUBLISH] = {"publish", PUBSUB "BasicInterface/Publish"},
    [BATCH] = {"batch", PUBSUB "BatchInterface/PublishBatch"},
    [STREAM] = {"stream", PUBSUB "BatchInterface/PublishStream"},
    [ENQUEUE] = {"enqueue", QUEUE "BasicInterface/Enqueue"},
    [FILL] = {"fill", QUEUE "BatchInterface/EnqueueBatch"},
    [CONSUME] = {"consume", QUEUE "VisibilityInterface/DequeueWithTimeout"}};
static const char TOPIC[] = "orders.created", QUEUE_NAME[] = "jobs", KEY[] = "key-0000000";

struct stream {
    uint32_t id; /* 0 = free */
    enum kind kind;
    char http[4], grpc[4]; /* the statuses, as text */
    int64_t start, credit, send_window;
    uint64_t sent, done; /* messages of a publishing or subscribing stream */
    uint8_t *message; /* what came of the message that is not complete */
    size_t have, room;
};

struct connection {
    int fd;
    uint32_t next_id;
    int64_t send_window, initial_window, received;
    bool settled, closing, blocked, subscribes;
    int asked, active; /* subscriptions */
    nghttp2_hd_inflater *inflater;
    int streams;
    struct stream *stream;
    uint8_t *in, *out;
    size_t in_len, out_len, out_sent;
};

static struct {
    const char *host, *authority;
    int port, connections, streams, size, batch, subscribers, subscriber_connections, window;
    uint64_t messages;
    double seconds, rate;
    enum mode mode;
} options = {.connections = 8, .streams = 10, .size = 100, .batch = 100, .window = 2048};

static const int64_t SILENCE = 10000000000ll;
static uint64_t asked, answered, delivered, errors, calls;
static int64_t now, begin, deadline;
static int poller, active, open_calls;
static char first_error[256];
static uint8_t body[MAX_BODY];

__attribute__((format(printf, 1, 2))) static void failed(const char *format, ...) {
    if (errors++) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(first_error, sizeof first_error, format, arguments);
    va_end(arguments);
}

/* ---- messages ---- */

static size_t put_bytes(uint8_t *p, uint8_t tag, const void *data, size_t n) {
    *p = tag;
    size_t head = 1 + put_varint(p + 1, (uint32_t)n);
    memcpy(p + head, data, n);
    return head + n;
}

static size_t put_payload(uint8_t *p, uint8_t tag) { /* the time, then a constant pattern */
    *p = tag;
    size_t head = 1 + put_varint(p + 1, (uint32_t)options.size);
    memset(p + head, 'm', (size_t)options.size);
    memcpy(p + head, &now, sizeof now);
    return head + (size_t)options.size;
}

static size_t put_publish(uint8_t *p) {
    size_t n = put_bytes(p, 0x0a, TOPIC, sizeof TOPIC - 1);
    return n + put_payload(p + n, 0x12);
}

static size_t put_queue(uint8_t *p) { return put_bytes(p, 0x0a, QUEUE_NAME, sizeof QUEUE_NAME - 1); }

static size_t put_item(uint8_t *p, uint8_t tag) { /* one of a batch */
    static uint8_t item[1 << 17];
    size_t n = options.mode == BATCH ? put_publish(item) : put_payload(item, 0x0a);
    return put_bytes(p, tag, item, n);
}

/* The request message of the mode, with its prefix; how many messages are in it in `count`. */
static size_t put_request(uint8_t *p, uint64_t *count) {
    uint8_t *q = p + 5;
    *count = 1;
    if (options.mode == PUBLISH || options.mode == STREAM) q += put_publish(q);
    else if (options.mode == SET) q += put_bytes(q, 0x0a, KEY, sizeof KEY - 1), q += put_payload(q, 0x12);
    else if (options.mode == ENQUEUE) q += put_queue(q), q += put_payload(q, 0x12);
    else if (options.mode == CONSUME) {
        q += put_queue(q);
        *q++ = 0x18, q += put_varint(q, (uint32_t)options.batch);
        *count = 0;
    } else {
        if (options.mode == FILL) q += put_queue(q);
        for (int i = 0; i < options.batch; i++) q += put_item(q, options.mode == FILL ? 0x12 : 0x0a);
        *count = (uint64_t)options.batch;
    }
    return put_prefix(p, (size_t)(q - p - 5)) + (size_t)(q - p - 5);
}

/* One field of a message: its number, and its bytes (or its number in `value`); false at the end. */
static bool next_field(const uint8_t **at, const uint8_t *end, uint32_t *number, const uint8_t **data,
                       uint64_t *value) {
    if (*at >= end) return false;
    uint8_t tag = *(*at)++;
    *number = tag >> 3, *data = NULL, *value = 0;
    for (int shift = 0; *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) break;
    }
    if ((tag & 7) == 2) *data = *at, *at += *value;
    return *at <= end;
}

/* ---- frames out ---- */

static void send_frame(struct connection *c, int type, int flags, uint32_t id, const void *payload, size_t length) {
    put_frame_head(c->out + c->out_len, length, type, flags, id);
    memcpy(c->out + c->out_len + 9, payload, length);
    c->out_len += 9 + length;
}

static void send_credit(struct connection *c, uint32_t id, uint32_t credit) {
    credit = htonl(credit);
    send_frame(c, FRAME_WINDOW, 0, id, &credit, 4);
}

static void send_data(struct connection *c, struct stream *s, const uint8_t *data, size_t n, bool last) {
    c->send_window -= (int64_t)n, s->send_window -= (int64_t)n;
    for (size_t step; n; data += step, n -= step) {
        step = n < 16384 ? n : 16384;
        send_frame(c, FRAME_DATA, last && step == n ? END_STREAM : 0, s->id, data, step);
    }
}

static size_t put_header(uint8_t *p, int static_index, const char *name, const char *value) { /* nothing is indexed */
    size_t n = put_integer(p, 4, 0, (uint32_t)static_index);
    if (!static_index) n += put_string(p + n, name, strlen(name));
    return n + put_string(p + n, value, strlen(value));
}

static void open_stream(struct connection *c, struct stream *s, enum kind kind, const char *path) {
    uint8_t head[512];
    size_t n = 2;
    head[0] = 0x83, head[1] = 0x86; /* POST, http */
    n += put_header(head + n, 4, NULL, path);
    n += put_header(head + n, 1, NULL, options.authority);
    n += put_header(head + n, 0, "te", "trailers");
    n += put_header(head + n, 31, NULL, "application/grpc");
    s->id = c->next_id, c->next_id += 2;
    s->kind = kind, s->start = now, s->http[0] = s->grpc[0] = 0;
    s->have = 0, s->credit = 0, s->send_window = c->initial_window, s->sent = s->done = 0;
    send_frame(c, FRAME_HEADERS, END_HEADERS, s->id, head, n);
    open_calls += kind != SUBSCRIBING;
    calls++;
}

static void subscribe(struct connection *c, struct stream *s, int number) {
    char name[32];
    uint8_t request[128], *q = request + 5;
    q += put_bytes(q, 0x0a, TOPIC, sizeof TOPIC - 1);
    q += put_bytes(q, 0x12, name, (size_t)snprintf(name, sizeof name, "subscriber-%d", number));
    size_t n = (size_t)(q - request);
    put_prefix(request, n - 5);
    open_stream(c, s, SUBSCRIBING, PUBSUB "BasicInterface/Subscribe");
    send_data(c, s, request, n, true);
}

static void subscribe_more(struct connection *c) { /* a few at a time, as clients that come one by one */
    static int subscribed;
    while (c->asked < c->streams && c->asked - c->active < 4) subscribe(c, &c->stream[c->asked++], subscribed++);
}

/* Whether another message may be asked for: the bounds of the run, of what is under way, and of the rate. */
static bool may_ask(void) {
    if (options.messages && asked >= options.messages) return false;
    if (deadline && now >= deadline) return false;
    if (options.rate > 0 && (double)asked >= (double)(now - begin) / 1e9 * options.rate) return false;
    uint64_t least = options.subscribers ? delivered / (uint64_t)options.subscribers : answered;
    if (options.mode == CONSUME) return true;
    return asked - (answered < least ? answered : least) < (uint64_t)options.window;
}

static void publish_more(struct connection *c, struct stream *s) {
    uint64_t count;
    while (may_ask() && c->out_len < WRITE_SIZE / 2) {
        size_t n = put_request(body, &count);
        if (c->send_window < (int64_t)n || s->send_window < (int64_t)n) return;
        send_data(c, s, body, n, false);
        asked += count, s->sent += count;
    }
}

static void ask(struct connection *c) {
    if (!c->settled || c->closing || c->subscribes || active < options.subscribers) return;
    for (int i = 0; i < c->streams; i++) {
        struct stream *s = &c->stream[i];
        uint64_t count;
        if (s->id && s->kind == PUBLISHING) publish_more(c, s);
        if (s->id || !may_ask() || c->out_len > WRITE_SIZE / 2) continue;
        if (options.mode == STREAM) {
            open_stream(c, s, PUBLISHING, MODE[STREAM].path);
            publish_more(c, s);
            continue;
        }
        size_t n = put_request(body, &count);
        if (c->send_window < (int64_t)n) return;
        open_stream(c, s, options.mode == CONSUME ? LEASING : UNARY, MODE[options.mode].path);
        s->sent = count, asked += count;
        send_data(c, s, body, n, true);
    }
}

/* ---- what comes ---- */

static void on_delivery(struct stream *s, const uint8_t *message, size_t n) {
    const uint8_t *at = message, *data;
    uint32_t number;
    uint64_t value;
    int64_t then;
    while (next_field(&at, message + n, &number, &data, &value)) {
        if (number != 2) continue;
        if (value != (uint64_t)options.size || data[value - 1] != 'm') failed("a payload is not as it was sent");
        memcpy(&then, data, sizeof then);
        count_latency(now - then);
        break; /* what follows the payload is the server's */
    }
    delivered++, s->done++;
}

static void on_answers(struct stream *s, const uint8_t *message, size_t n) { /* PublishStreamResponse */
    const uint8_t *at = message, *data;
    uint32_t number;
    uint64_t value, results = 0, told = 0;
    while (next_field(&at, message + n, &number, &data, &value)) {
        if (number == 1) told = value;
        else if (number == 2) results++;
    }
    s->done += results, answered += results;
    if (told != s->done) failed("%llu messages are said to be answered, and %llu were", (unsigned long long)told,
                                (unsigned long long)s->done);
}

static void release(struct connection *c, struct stream *s) {
    const uint8_t *at = s->message + 5, *end = s->message + s->have, *data, *inner;
    uint8_t *q = body + 5;
    uint32_t number;
    uint64_t value;
    q += put_queue(q);
    s->sent = 0;
    while (next_field(&at, end, &number, &data, &value)) {
        const uint8_t *stop = data + value;
        if (number != 1) continue;
        inner = data, s->sent++;
        while (next_field(&inner, stop, &number, &data, &value))
            if (number == 5) q += put_bytes(q, 0x12, data, value);
    }
    uint64_t taken = s->sent;
    s->id = 0;
    if (taken == 0) { c->closing = true; return; } /* the queue is empty */
    *q++ = 0x18, *q++ = 1;
    size_t n = (size_t)(q - body);
    put_prefix(body, n - 5);
    open_stream(c, s, RELEASING, QUEUE "BatchInterface/ReleaseBatch");
    s->sent = taken;
    send_data(c, s, body, n, true);
}

static void close_stream(struct connection *c, struct stream *s) {
    enum kind kind = s->kind;
    open_calls -= kind != SUBSCRIBING;
    if (strcmp(s->http, "200") || strcmp(s->grpc, "0"))
        failed("stream %u ended: status %s, grpc-status %s", s->id, s->http, s->grpc);
    if (kind == LEASING) { release(c, s); return; }
    if (kind == UNARY || kind == RELEASING) {
        answered += s->sent;
        if (!options.subscribers) count_latency(now - s->start);
    }
    s->id = 0;
}

static void on_data(struct connection *c, struct stream *s, const uint8_t *p, size_t length) {
    if ((c->received += (int64_t)length) > WINDOW / 2) send_credit(c, 0, (uint32_t)c->received), c->received = 0;
    if ((s->credit += (int64_t)length) > STREAM_CREDIT) send_credit(c, s->id, (uint32_t)s->credit), s->credit = 0;
    bool whole = s->kind == SUBSCRIBING || s->kind == PUBLISHING;
    while (length) {
        size_t size = 5, step;
        if (s->have == 0 && whole && length >= 5) { /* complete where it stands, mostly */
            size = 5 + ((size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4]);
            if (length >= size) {
                if (s->kind == SUBSCRIBING) on_delivery(s, p + 5, size - 5);
                else on_answers(s, p + 5, size - 5);
                p += size, length -= size;
                continue;
            }
        }
        if (s->have >= 5) {
            const uint8_t *m = s->message;
            size = 5 + ((size_t)m[1] << 24 | (size_t)m[2] << 16 | (size_t)m[3] << 8 | m[4]);
        }
        step = size - s->have < length ? size - s->have : length;
        if (s->have + step > s->room) s->message = realloc(s->message, s->room = (s->have + step) * 2);
        memcpy(s->message + s->have, p, step);
        s->have += step, p += step, length -= step;
        if (s->have == size && size > 5 && whole) {
            if (s->kind == SUBSCRIBING) on_delivery(s, s->message + 5, size - 5);
            else on_answers(s, s->message + 5, size - 5);
            s->have = 0;
        }
    }
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
                snprintf(s->http, sizeof s->http, "%.*s", (int)nv.valuelen, nv.value);
            else if (nv.namelen == 11 && memcmp(nv.name, "grpc-status", 11) == 0)
                snprintf(s->grpc, sizeof s->grpc, "%.*s", (int)nv.valuelen, nv.value);
            else if (nv.namelen == 17 && memcmp(nv.name, "x-subscription-id", 17) == 0)
                active++, c->active++;
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
    }
    nghttp2_hd_inflate_end_headers(c->inflater);
}

static struct stream *find(struct connection *c, uint32_t id) {
    if (c->subscribes) return (int)(id / 2) < c->streams ? &c->stream[id / 2] : NULL;
    for (int i = 0; i < c->streams; i++)
        if (c->stream[i].id == id) return &c->stream[i];
    return NULL;
}

static void on_settings(struct connection *c, const uint8_t *p, size_t length) {
    for (; length >= 6; p += 6, length -= 6)
        if (p[1] == 4) c->initial_window = (int64_t)p[2] << 24 | (int64_t)p[3] << 16 | (int64_t)p[4] << 8 | p[5];
    send_frame(c, FRAME_SETTINGS, ACK, 0, "", 0);
    if (c->settled) return;
    c->settled = true;
    if (c->subscribes) subscribe_more(c);
}

static void on_frame(struct connection *c, int type, int flags, uint32_t id, const uint8_t *p, size_t length) {
    struct stream *s = id ? find(c, id) : NULL;
    if (type == FRAME_DATA) {
        if (s) on_data(c, s, p, length);
    } else if (type == FRAME_HEADERS) {
        on_headers(c, s, p, length);
        if (c->subscribes) subscribe_more(c);
    } else if (type == FRAME_SETTINGS && !(flags & ACK)) {
        on_settings(c, p, length);
    } else if (type == FRAME_WINDOW) {
        int64_t credit = (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
        if (id == 0) c->send_window += credit;
        else if (s) s->send_window += credit;
    } else if (type == FRAME_PING && !(flags & ACK)) {
        send_frame(c, FRAME_PING, ACK, 0, p, length);
    } else if (type == FRAME_GOAWAY) {
        c->closing = true;
    }
    if (s && (((type == FRAME_DATA || type == FRAME_HEADERS) && flags & END_STREAM) || type == FRAME_RST)) {
        if (s->kind == SUBSCRIBING) failed("a subscription ended with grpc-status %s", s->grpc);
        close_stream(c, s);
    }
}

static void parse(struct connection *c) {
    size_t at = 0;
    while (c->in_len - at >= 9) {
        const uint8_t *p = c->in + at;
        size_t length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (c->in_len - at < 9 + length) break;
        uint32_t id = ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) & 0x7fffffff;
        on_frame(c, p[3], p[4], id, p + 9, length);
        at += 9 + length;
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

static void receive(struct connection *c) {
    ssize_t n = read(c->fd, c->in + c->in_len, READ_SIZE - c->in_len);
    if (n == 0) errno = ECONNRESET;
    if (n <= 0 && errno != EAGAIN) die("read");
    if (n > 0) c->in_len += (size_t)n, parse(c);
    flush(c);
}

static void open_connection(struct connection *c, int streams, bool subscribes) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    int on = 1;
    inet_pton(AF_INET, options.host, &address.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in = malloc(READ_SIZE), c->out = malloc(subscribes ? READ_SIZE : WRITE_SIZE + MAX_BODY);
    c->streams = streams, c->stream = calloc((size_t)streams, sizeof *c->stream), c->subscribes = subscribes;
    c->next_id = 1, c->send_window = c->initial_window = 65535;
    if (nghttp2_hd_inflate_new(&c->inflater) != 0) die("nghttp2_hd_inflate_new");
    static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    memcpy(c->out, PREFACE, sizeof PREFACE - 1);
    c->out_len = sizeof PREFACE - 1;
    uint8_t settings[12] = {0, 2, 0, 0, 0, 0, 0, 4, 0x3f, 0xff, 0xff, 0xff}; /* no push, INITIAL_WINDOW_SIZE */
    send_frame(c, FRAME_SETTINGS, 0, 0, settings, sizeof settings);
    send_credit(c, 0, WINDOW - 65535);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    flush(c);
}

static bool finished(struct connection *publishers) {
    bool bounded = (options.messages && asked >= options.messages) || (deadline && now >= deadline);
    bool drained = true;
    for (int i = 0; i < options.connections; i++) drained &= publishers[i].closing;
    if (options.mode == CONSUME) return (drained || bounded) && open_calls == 0;
    return bounded && active >= options.subscribers && answered == asked && delivered == asked * (uint64_t)options.subscribers;
}

static void start(void) { /* the run's time begins when every subscription is active */
    begin = now;
    if (options.seconds > 0) deadline = begin + (int64_t)(options.seconds * 1e9);
}

static void run(void) {
    poller = epoll_create1(0);
    int reading = options.subscriber_connections;
    if (reading > options.subscribers) reading = options.subscribers;
    int n, each = reading ? options.subscribers / reading : 0, rest = reading ? options.subscribers % reading : 0;
    struct connection *all = calloc((size_t)(options.connections + reading), sizeof *all);
    for (int i = 0; i < reading; i++)
        open_connection(&all[options.connections + i], each + (i < rest), true);
    for (int i = 0; i < options.connections; i++)
        open_connection(&all[i], options.mode == STREAM ? 1 : options.streams, false);
    int64_t last = now;
    for (uint64_t before = 0; !finished(all);) {
        struct epoll_event events[256];
        n = epoll_wait(poller, events, 256, options.rate > 0 ? 1 : 100);
        now = clock_ns();
        bool ready = active >= options.subscribers;
        for (int i = 0; i < n; i++) receive(events[i].data.ptr);
        if (!ready && active >= options.subscribers) start();
        for (int i = 0; i < options.connections; i++) ask(&all[i]), flush(&all[i]);
        uint64_t progress = answered + delivered + (uint64_t)active;
        if (progress != before) before = progress, last = now;
        if (now - last > SILENCE) {
            failed("nothing for 10 s: %llu asked, %llu answered, %llu delivered to %d of %d subscribers",
                   (unsigned long long)asked, (unsigned long long)answered, (unsigned long long)delivered, active,
                   options.subscribers);
            return;
        }
    }
}

static void usage(void) {
    fputs("usage: message_load set|publish|batch|stream|enqueue|fill|consume [--connections N] [--streams N]\n"
          "  [--subscribers N] [--subscriber-connections N] [--size BYTES] [--batch N] [--window MESSAGES]\n"
          "  [--rate PER_SECOND] --messages N|--seconds S IPV4:PORT\n", stderr);
    exit(2);
}

static void parse_options(int argc, char **argv) {
    static const struct option LONG[] = {
        {"connections", 1, 0, 'c'}, {"streams", 1, 0, 'm'}, {"subscribers", 1, 0, 's'}, {"size", 1, 0, 'z'},
        {"subscriber-connections", 1, 0, 'k'}, {"batch", 1, 0, 'b'}, {"window", 1, 0, 'w'}, {"rate", 1, 0, 'r'},
        {"messages", 1, 0, 'n'}, {"seconds", 1, 0, 'D'}, {0}};
    if (argc < 2) usage();
    while (options.mode < MODES && strcmp(argv[1], MODE[options.mode].name)) options.mode++;
    optind = 2;
    for (int o; (o = getopt_long(argc, argv, "", LONG, NULL)) != -1;) {
        if (o == 'c') options.connections = atoi(optarg);
        else if (o == 'm') options.streams = atoi(optarg);
        else if (o == 's') options.subscribers = atoi(optarg);
        else if (o == 'k') options.subscriber_connections = atoi(optarg);
        else if (o == 'z') options.size = atoi(optarg);
        else if (o == 'b') options.batch = atoi(optarg);
        else if (o == 'w') options.window = atoi(optarg);
        else if (o == 'r') options.rate = atof(optarg);
        else if (o == 'n') options.messages = strtoull(optarg, NULL, 10);
        else if (o == 'D') options.seconds = atof(optarg);
        else usage();
    }
    options.authority = argv[optind];
    char *colon = options.authority ? strchr(options.authority, ':') : NULL;
    size_t largest = (size_t)options.batch * ((size_t)options.size + 128);
    bool bounded = options.messages || options.seconds > 0;
    if (!colon || options.mode == MODES || options.streams > MAX_STREAMS || options.size < 8 || options.size > 65536 ||
        (options.mode != CONSUME && largest > MAX_BODY) || !bounded)
        usage();
    if (options.subscriber_connections == 0) options.subscriber_connections = 10;
    options.host = strndup(options.authority, (size_t)(colon - options.authority));
    options.port = atoi(colon + 1);
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    now = clock_ns();
    start();
    run();
    double elapsed = (double)(now - begin) / 1e9;
    uint64_t samples = options.subscribers ? delivered : calls;
    printf("{\"messages\": %llu, \"deliveries\": %llu, \"errors\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"first_error\": \"%s\"}\n",
           (unsigned long long)answered, (unsigned long long)delivered, (unsigned long long)errors, elapsed,
           percentile_us(0.5, samples), percentile_us(0.99, samples), percentile_us(0.999, samples),
           (double)latency_max / 1e3, first_error);
    return errors || answered == 0;
}
