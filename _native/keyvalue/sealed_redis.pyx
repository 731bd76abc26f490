"""Get and Set of encrypted namespaces over Redis. What the cipher does not know is the servicer's.

A Set travels as ciphertext; where it falls back to the servicer, which seals by itself, it is opened again first.
"""
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_GET_SIZE

from prism_proxy._native.crypto.value_cipher cimport ValueCipher
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport proto_bytes_t
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute
from prism_proxy._native.keyvalue.redis cimport RedisHandler, RedisStore, flag_done
from prism_proxy._native.redis.replies cimport read_command
from prism_proxy._native.redis.resp cimport EXPECT_OK, EXPECT_NAMED, resp_reply_t


cdef class SealedHandler(RedisHandler):
    def __cinit__(self):
        self.any_values = True

    cdef Binding bind(self, NativeRoute route, Method method):
        cdef Binding found = RedisHandler.bind(self, route, method)
        return found if found is not None and isinstance(found.cipher, ValueCipher) else None

    cdef int to_store(self, ServerStream stream, const proto_bytes_t* key, proto_bytes_t* value) noexcept:
        return (<ValueCipher>stream.binding.cipher).seal_value(
            key.data, key.length, value.data, value.length, &value.data, &value.length)

    cdef int from_store(self, ServerStream stream, const proto_bytes_t* key, proto_bytes_t* value) noexcept:
        return (<ValueCipher>stream.binding.cipher).open_value(
            key.data, key.length, value.data, value.length, &value.data, &value.length, self.writes)


cdef class SealedGet(SealedHandler):
    def __cinit__(self):
        self.verb = b"GET"
        self.expects = EXPECT_NAMED
        self.done = get_done


cdef class SealedSet(SealedHandler):
    def __cinit__(self):
        self.verb = b"SET"
        self.expects = EXPECT_OK
        self.done = flag_done
        self.writes = True

    cdef bint has_value(self) noexcept:
        return True


cdef void get_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command, size_t n) noexcept:
    cdef ServerStream stream = <ServerStream>owner
    cdef SealedGet handler = <SealedGet>stream.handler
    cdef RedisStore store = <RedisStore>stream.binding.store
    cdef size_t prefix = PyBytes_GET_SIZE(store.prefix)
    cdef proto_bytes_t key, value
    cdef uint8_t* out
    if handler.over(stream, outcome, reply, command, n):
        return
    if reply.type == c"_":
        handler.reply_flag(stream, False)
        return
    value.data = reply.data
    value.length = reply.length
    if command == NULL or read_command(command, n, 1, &key.data, &key.length) or key.length < prefix:
        stream.fail(13, "INTERNAL", "a command could not be read back")
        return
    key.data += prefix
    key.length -= prefix
    if handler.from_store(stream, &key, &value):
        handler.fall_back_with(stream, command, n)
    elif value.length == 0:
        handler.reply_flag(stream, True)
    else:
        out = handler.reply_value_head(stream, value.length, value.length, True)
        if out != NULL:
            memcpy(out, value.data, value.length)
            stream.reply_end()


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    service = "/prism.interfaces.keyvalue.KeyValueBasicInterface/"
    return {service + "Get": SealedGet(), service + "Set": SealedSet()}
