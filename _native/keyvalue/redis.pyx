"""Native handlers of KeyValueBasicInterface over Redis: from the request's bytes to a command, from its reply to ours.

The ordinary case makes no Python object. Everything else is the servicer's, which has the slot's rules: a request that
does not decode, no usable connection, an error of Redis, and what a lost connection surely did not execute. A write
that may have been executed is answered here, because it must not be tried again.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.slots.circuit cimport CircuitCore
from prism_proxy._native.keyvalue.memstore cimport KeyValueHandler, read_request
from prism_proxy._native.grpc.protowire cimport PROTO_LEN, proto_bytes_t, proto_put_varint, proto_varint_size
from prism_proxy._native.redis.replies cimport read_command, too_large
from prism_proxy._native.redis.resp cimport (
    ANSWERED, BUCKETS, EXPECT_INTEGER, EXPECT_OK, EXPECT_VALUE, EXPIRED, LOST_SENT, NO_BUCKET, SEND_OK, RespConnection,
    FairShare, Writes, argument_t, resp_reply_t,
)
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute

cdef uint32_t hash_of(const uint8_t* data, size_t n, uint32_t seed) noexcept:
    cdef size_t i
    for i in range(n):
        seed = (seed ^ data[i]) * 16777619
    return seed ^ (seed >> 15)


cdef class PoolSlots:
    """The connections to one server, which namespaces share: `connections` for commands, and one for large values.
    The link fills and empties them as connections come and go."""

    def __init__(self, int connections):
        self.connections = [None] * (connections + 1)
        self.writes = [Writes() for _ in self.connections]


cdef class RedisStore:
    """One namespace's view of the connections, none until `attach`. `max_pending` is of each connection."""

    def __init__(self, bytes prefix not None, size_t bulk_bytes, size_t max_value_bytes, uint32_t max_pending,
                 dict describe not None):
        self.prefix = prefix
        self.max_value_bytes = max_value_bytes
        self.bulk_bytes = bulk_bytes
        self.max_pending = max_pending
        self.describe = describe
        self.swap_script = self.delete_script = b""
        self.shares = []
        self.seed = hash_of(<const uint8_t*>PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix), 2166136261)

    def attach(self, PoolSlots places not None) -> None:
        self.shares = [FairShare(self.max_pending) for _ in places.connections]
        self.places = places

    def detach(self) -> None:
        """No further command; those without a reply get theirs."""
        self.places = None

    @property
    def pending(self) -> int:
        """Commands of the namespace without a reply."""
        return sum([share.pending for share in self.shares])

    def pick(self, bytes key not None, bint bulk=False):
        """(connection, share) for a command that reads a key; the connection is None when it is not usable."""
        cdef Py_ssize_t place
        if self.places is None:
            return None, None
        place = len(self.shares) - 1
        if not bulk:
            place = self.place_of(<const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        return self.usable(place), self.shares[place]

    cdef Py_ssize_t place_of(self, const uint8_t* key, size_t n) noexcept:
        """By key, so that its commands are executed in the order they were sent, but for those that are large."""
        cdef Py_ssize_t last = len(self.shares) - 1
        cdef uint32_t hash = 0
        cdef size_t i
        for i in range(n - 8 if n > 8 else 0, n):
            hash = hash * 31 + key[i]
        return (hash ^ (hash >> 15)) % <uint32_t>last

    def route(self, list keys not None, size_t size, bint bulk):
        """How a write of some keys goes so that it overtakes none that was sent before: (connection, share, buckets,
        behind). `behind` are connections on which commands must first be answered that are there now; a connection is
        None when it is not usable.

        A write of one key follows those that are still on their way over the same connection, wherever they went. It
        waits for them instead where it is large, or its keys were sent different ways.
        """
        cdef Py_ssize_t last, own, wanted, place
        cdef bytes key
        cdef uint32_t bucket
        cdef bint large = size > self.bulk_bytes
        if self.places is None:
            return None, None, None, ()
        last = wanted = len(self.shares) - 1
        busy = set()
        buckets = bytearray()
        for key in keys:
            own = self.place_of(<const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            bucket = self.bucket_of(<const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            buckets += (<const char*>&bucket)[:sizeof(bucket)]
            for place in (own, last):
                if (<Writes>self.places.writes[place]).counts[bucket]:
                    busy.add(place)
            if not bulk and not large and len(keys) == 1:
                wanted = own
        if len(busy) == 1 and not large:
            wanted = busy.pop()
        busy.discard(wanted)
        return (self.usable(wanted), self.shares[wanted], bytes(buckets), tuple([self.usable(place) for place in busy]))

    cdef uint32_t bucket_of(self, const uint8_t* key, size_t n) noexcept:
        cdef size_t skipped = n - 32 if n > 32 else 0
        return hash_of(key + skipped, n - skipped, self.seed) % BUCKETS

    cdef Py_ssize_t place_of_write(self, const uint8_t* key, size_t n, size_t value_bytes, uint32_t* bucket) noexcept:
        """As `route`, for one key; -1 where the write must wait."""
        cdef Py_ssize_t last = len(self.shares) - 1, own = self.place_of(key, n)
        bucket[0] = self.bucket_of(key, n)
        if (<Writes>self.places.writes[own]).counts[bucket[0]]:
            if value_bytes > self.bulk_bytes or (<Writes>self.places.writes[last]).counts[bucket[0]]:
                return -1
            return own
        if value_bytes > self.bulk_bytes or (<Writes>self.places.writes[last]).counts[bucket[0]]:
            return last
        return own

    cdef RespConnection usable(self, Py_ssize_t place):
        found = self.places.connections[place]
        if found is None or not (<RespConnection>found).ready:
            return None
        return <RespConnection>found


cdef class RedisHandler(KeyValueHandler):
    """Base of the four, and of others over the same connections. `done` takes the reply, which must be what the command
    `expects`; `verb` is the command, `writes` whether it must run at most once."""

    cdef RedisStore store_of(self, ServerStream stream):
        return <RedisStore>stream.binding.store

    cdef Binding bind(self, NativeRoute route, Method method):
        found = route.bindings.get(method.service)
        if found is None or not isinstance((<Binding>found).store, RedisStore):
            return None
        return <Binding>found if self.any_values or (<Binding>found).cipher is None else None

    cdef int call(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef proto_bytes_t key, value
        cdef argument_t arguments[3]
        cdef bint has_value = self.has_value()
        value.data = data
        value.length = 0
        if read_request(data, n, &key, &value if has_value else NULL):
            return -1
        if has_value and self.to_store(stream, &key, &value):
            return -1
        if value.length > (<RedisStore>stream.binding.store).max_value_bytes:
            return -1
        arguments[0].head_length = 0
        arguments[0].data = <const uint8_t*>PyBytes_AS_STRING(self.verb)
        arguments[0].length = PyBytes_GET_SIZE(self.verb)
        arguments[2].head_length = 0
        arguments[2].data = value.data
        arguments[2].length = value.length
        return self.send_for_key(stream, &key, value.length, 3 if has_value else 2, arguments, 1)

    cdef int send_for_key(self, ServerStream stream, const proto_bytes_t* key, size_t value_bytes, int count,
                          argument_t* arguments, int key_at) noexcept:
        """Send a command for one key, which becomes the argument `key_at`, with `value_bytes` of values; -1 as
        `call`."""
        cdef RedisStore store = <RedisStore>stream.binding.store
        cdef CircuitCore circuit = stream.binding.circuit
        cdef RespConnection connection
        cdef Py_ssize_t place
        cdef uint32_t bucket = NO_BUCKET
        if store.places is None or (circuit is not None and not circuit.closed):
            return -1
        if self.writes:
            place = store.place_of_write(key.data, key.length, value_bytes, &bucket)
            if place < 0:
                return -1
        else:
            place = store.place_of(key.data, key.length)
        connection = store.usable(place)
        if connection is None:
            return -1
        arguments[key_at].head = <const uint8_t*>PyBytes_AS_STRING(store.prefix)
        arguments[key_at].head_length = PyBytes_GET_SIZE(store.prefix)
        arguments[key_at].data = key.data
        arguments[key_at].length = key.length
        if connection.send(self.done, self.expects, stream, stream.deadline_ns, count, arguments,
                           <FairShare>store.shares[place], stream.binding.limiter, bucket, None) != SEND_OK:
            return -1
        if not stream.handler_active:
            stream.handler_started()
        return 0

    cdef bint has_value(self) noexcept:
        return False

    cdef int to_store(self, ServerStream stream, const proto_bytes_t* key, proto_bytes_t* value) noexcept:
        return 0

    cdef int from_store(self, ServerStream stream, const proto_bytes_t* key, proto_bytes_t* value) noexcept:
        return 0

    cdef void on_cancel(self, ServerStream stream, int code) noexcept:
        stream.handler_finished()      # the reply will find nobody

    cdef bint over(self, ServerStream stream, int outcome, const resp_reply_t* reply, const uint8_t* command,
                   size_t n) noexcept:
        """Whether the call has ended, or is ended here, because its command has no ordinary reply."""
        cdef CircuitCore circuit = stream.binding.circuit
        if stream.answered or stream.session is None:
            stream.handler_finished()
            return True
        if outcome == ANSWERED and reply.type != c"-":
            stream.handler_finished()
            if circuit is not None:
                circuit.succeeded()
            return False
        if outcome == EXPIRED:
            self.fail_expired(stream)
        elif outcome == ANSWERED and too_large(reply):
            self.fail_too_large(stream, reply)
        elif outcome == LOST_SENT and self.writes:
            self.fail_unknown(stream)
        else:
            stream.handler_finished()
            self.fall_back_with(stream, command, n)
        return True

    cdef void fall_back_with(self, ServerStream stream, const uint8_t* command, size_t n) noexcept:
        """Let the servicer try: rebuild the request from the command that was sent."""
        cdef size_t prefix = PyBytes_GET_SIZE((<RedisStore>stream.binding.store).prefix)
        cdef proto_bytes_t fields[2]    # the key, the value
        fields[1].data = NULL
        fields[1].length = 0
        if command == NULL or read_command(command, n, 1, &fields[0].data, &fields[0].length) or (
                fields[0].length < prefix or (
                    self.has_value() and read_command(command, n, 2, &fields[1].data, &fields[1].length))):
            stream.fail(13, "INTERNAL", "a command could not be read back")
            return
        fields[0].data += prefix
        fields[0].length -= prefix
        if self.has_value() and self.from_store(stream, &fields[0], &fields[1]):
            stream.fail(13, "INTERNAL", "the value of a command could not be read back")
            return
        self.serve_otherwise(stream, fields, 2)

    cdef void serve_otherwise(self, ServerStream stream, const proto_bytes_t* fields, int count) noexcept:
        """Hand the request with these fields, numbered from 1, to the servicer; those without data are left out."""
        cdef size_t size = 0
        cdef uint8_t* request
        cdef uint8_t* at
        cdef int i
        for i in range(count):
            size += 1 + proto_varint_size(fields[i].length) + fields[i].length
        request = at = <uint8_t*>malloc(size)
        if request == NULL:
            stream.fail(8, "OUT_OF_MEMORY", "no memory for the request")
            return
        for i in range(count):
            if fields[i].data != NULL:
                at[0] = (i + 1) << 3 | PROTO_LEN
                at = proto_put_varint(at + 1, fields[i].length)
                memcpy(at, fields[i].data, fields[i].length)
                at += fields[i].length
        self.fall_back(stream, request, at - request)
        stream.handler.on_end(stream)
        free(request)

    cdef void fail_expired(self, ServerStream stream) noexcept:
        stream.fail_with(self.store_of(stream).describe["expired"](stream.method.operation, self.writes))
        stream.handler_finished()   # a caller's deadline says nothing of the backend

    cdef void fail_too_large(self, ServerStream stream, const resp_reply_t* reply) noexcept:
        """The value was left out of the reply, and asking again would have it sent once more."""
        if stream.binding.circuit is not None:
            (<CircuitCore>stream.binding.circuit).succeeded()
        stream.fail_with(self.store_of(stream).describe["too_large"](
            stream.method.operation, (<char*>reply.data)[:reply.length]))
        stream.handler_finished()

    cdef void backend_failed(self, ServerStream stream, str reason) noexcept:
        cdef CircuitCore circuit = stream.binding.circuit
        if circuit is not None:
            circuit.failed(reason)

    cdef void fail_unknown(self, ServerStream stream) noexcept:
        stream.handler_finished()
        self.backend_failed(stream, "CONNECTION_LOST")
        stream.fail_with(self.store_of(stream).describe["unknown"](stream.method.operation))


cdef class RedisGet(RedisHandler):
    def __cinit__(self):
        self.verb = b"GET"
        self.expects = EXPECT_VALUE
        self.done = get_done


cdef class RedisSet(RedisHandler):
    def __cinit__(self):
        self.verb = b"SET"
        self.expects = EXPECT_OK
        self.done = flag_done
        self.writes = True

    cdef bint has_value(self) noexcept:
        return True


cdef class RedisDelete(RedisHandler):
    def __cinit__(self):
        self.verb = b"DEL"
        self.any_values = True
        self.expects = EXPECT_INTEGER
        self.done = flag_done
        self.writes = True


cdef class RedisExists(RedisHandler):
    def __cinit__(self):
        self.verb = b"EXISTS"
        self.any_values = True
        self.expects = EXPECT_INTEGER
        self.done = exists_done


cdef void get_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command, size_t n) noexcept:
    cdef ServerStream stream = <ServerStream>owner
    cdef RedisHandler handler = <RedisHandler>stream.handler
    cdef uint8_t* out
    if handler.over(stream, outcome, reply, command, n):
        return
    if reply.type == c"_" or reply.length == 0:
        handler.reply_flag(stream, reply.type != c"_")
        return
    out = handler.reply_value_head(stream, reply.length, reply.length, True)
    if out != NULL:
        memcpy(out, reply.data, reply.length)
        stream.reply_end()


cdef void flag_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command, size_t n) noexcept:
    cdef ServerStream stream = <ServerStream>owner
    cdef RedisHandler handler = <RedisHandler>stream.handler
    if not handler.over(stream, outcome, reply, command, n):
        handler.reply_flag(stream, True)


cdef void exists_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command, size_t n) noexcept:
    cdef ServerStream stream = <ServerStream>owner
    cdef RedisHandler handler = <RedisHandler>stream.handler
    if not handler.over(stream, outcome, reply, command, n):
        handler.reply_flag(stream, reply.integer != 0)


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    service = "/prism.interfaces.keyvalue.KeyValueBasicInterface/"
    return {
        service + "Get": RedisGet(), service + "Set": RedisSet(),
        service + "Delete": RedisDelete(), service + "Exists": RedisExists(),
    }
