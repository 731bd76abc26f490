"""CompareAndSwap and CompareAndDelete over Redis: a script that compares and writes in one step.

Scripts are run by their digest. A server that does not know it answers an error, and the servicer sends the script
whole.
"""
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.protowire cimport proto_bytes_t
from prism_proxy._native.keyvalue.memstore cimport comparison_t, read_comparison
from prism_proxy._native.keyvalue.redis cimport RedisHandler, RedisStore
from prism_proxy._native.redis.replies cimport read_command
from prism_proxy._native.redis.resp cimport EXPECT_COMPARED, argument_t, resp_reply_t

cdef enum:
    KEY_AT = 3      # arguments of a command: EVALSHA digest 1 key, then what differs


cdef inline void put(argument_t* argument, const void* data, size_t n) noexcept:
    argument.head_length = 0
    argument.data = <const uint8_t*>data
    argument.length = n


cdef class CompareHandler(RedisHandler):
    """Base of both. The script answers 1 when it has written, else the value that is there."""

    def __cinit__(self):
        self.expects = EXPECT_COMPARED
        self.done = compare_done
        self.writes = True

    cdef int run(self, ServerStream stream, bytes digest, const comparison_t* asked, argument_t* arguments,
                 int count) noexcept:
        """Send the script with what it gets beside the key; -1 as `call`."""
        if asked.value.length > (<RedisStore>stream.binding.store).max_value_bytes:
            return -1
        put(arguments, b"EVALSHA", 7)
        put(arguments + 1, PyBytes_AS_STRING(digest), PyBytes_GET_SIZE(digest))
        put(arguments + 2, b"1", 1)
        return self.send_for_key(
            stream, &asked.key, asked.expected.length + asked.value.length, count, arguments, KEY_AT)

    cdef void fall_back_with(self, ServerStream stream, const uint8_t* command, size_t n) noexcept:
        cdef size_t prefix = PyBytes_GET_SIZE((<RedisStore>stream.binding.store).prefix)
        cdef proto_bytes_t fields[3]    # the key, what is expected, the value
        fields[1].data = fields[2].data = NULL
        fields[1].length = fields[2].length = 0
        if command == NULL or read_command(command, n, KEY_AT, &fields[0].data, &fields[0].length) or (
                fields[0].length < prefix or self.read_back(command, n, fields)):
            stream.fail(13, "INTERNAL", "a command could not be read back")
            return
        fields[0].data += prefix
        fields[0].length -= prefix
        self.serve_otherwise(stream, fields, 3)

    cdef int read_back(self, const uint8_t* command, size_t n, proto_bytes_t* fields) noexcept:
        """Fields 2 and 3 of the request that became a command; 0, or -1."""
        return -1


cdef class CompareAndSwap(CompareHandler):
    """Without `expected` the key must not exist."""

    cdef int call(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef comparison_t asked
        cdef argument_t arguments[7]
        if read_comparison(data, n, &asked, True):
            return -1
        put(arguments + 4, b"1" if asked.is_expected else b"0", 1)
        put(arguments + 5, asked.expected.data, asked.expected.length)
        put(arguments + 6, asked.value.data, asked.value.length)
        return self.run(stream, (<RedisStore>stream.binding.store).swap_script, &asked, arguments, 7)

    cdef int read_back(self, const uint8_t* command, size_t n, proto_bytes_t* fields) noexcept:
        cdef proto_bytes_t flag
        if read_command(command, n, 4, &flag.data, &flag.length) or flag.length != 1:
            return -1
        if flag.data[0] == c"1" and read_command(command, n, 5, &fields[1].data, &fields[1].length):
            return -1
        return read_command(command, n, 6, &fields[2].data, &fields[2].length)


cdef class CompareAndDelete(CompareHandler):
    cdef int call(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef comparison_t asked
        cdef argument_t arguments[5]
        if read_comparison(data, n, &asked, False):
            return -1
        put(arguments + 4, asked.expected.data, asked.expected.length)
        return self.run(stream, (<RedisStore>stream.binding.store).delete_script, &asked, arguments, 5)

    cdef int read_back(self, const uint8_t* command, size_t n, proto_bytes_t* fields) noexcept:
        return read_command(command, n, 4, &fields[1].data, &fields[1].length)


cdef void compare_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command,
                       size_t n) noexcept:
    cdef ServerStream stream = <ServerStream>owner
    cdef CompareHandler handler = <CompareHandler>stream.handler
    cdef uint8_t* out
    if handler.over(stream, outcome, reply, command, n):
        return
    if reply.type != c"$":
        handler.reply_flag(stream, reply.type == c":")
        return
    out = handler.reply_value_head(stream, reply.length, reply.length, False)
    if out != NULL:
        memcpy(out, reply.data, reply.length)
        stream.reply_end()


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    service = "/prism.interfaces.keyvalue.KeyValueCASInterface/"
    return {service + "CompareAndSwap": CompareAndSwap(), service + "CompareAndDelete": CompareAndDelete()}
