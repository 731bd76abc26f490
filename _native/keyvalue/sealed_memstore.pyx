"""Get and Set of encrypted namespaces over the memory store. What the cipher does not know is the servicer's."""
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from prism_proxy._native.crypto.value_cipher cimport ValueCipher
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport proto_bytes_t
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute
from prism_proxy._native.keyvalue.memstore cimport MemoryHandler, read_request
from prism_proxy._native.memstore.store cimport MS_OK, MemStore, blob_t


cdef class SealedHandler(MemoryHandler):
    def __cinit__(self):
        self.any_values = True

    cdef Binding bind(self, NativeRoute route, Method method):
        cdef Binding found = MemoryHandler.bind(self, route, method)
        return found if found is not None and isinstance(found.cipher, ValueCipher) else None


cdef class SealedGet(SealedHandler):
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef proto_bytes_t key
        cdef blob_t* blob
        cdef const uint8_t* value = NULL
        cdef size_t length = 0
        cdef uint8_t* out
        cdef MemStore store = <MemStore>stream.binding.store
        if read_request(data, n, &key, NULL):
            self.fall_back(stream, data, n)
            return
        blob = store.native_get(key.data, key.length, stream.session.now_ns)
        if blob == NULL:
            self.reply_flag(stream, False)
        elif (<ValueCipher>stream.binding.cipher).open_value(
                key.data, key.length, blob.data, blob.length, &value, &length, False):
            self.fall_back(stream, data, n)
        elif length == 0:
            self.reply_flag(stream, True)
        else:
            out = self.reply_value_head(stream, length, length, True)
            if out != NULL:
                memcpy(out, value, length)
                stream.reply_end()


cdef class SealedSet(SealedHandler):
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef proto_bytes_t key, value
        cdef const uint8_t* sealed = NULL
        cdef size_t length = 0
        cdef MemStore store = <MemStore>stream.binding.store
        value.data = data
        value.length = 0
        if store.sealed or read_request(data, n, &key, &value) or (<ValueCipher>stream.binding.cipher).seal_value(
                key.data, key.length, value.data, value.length, &sealed, &length) or store.native_set(
                    key.data, key.length, sealed, length, stream.session.now_ns) != MS_OK:
            self.fall_back(stream, data, n)
            return
        self.reply_flag(stream, True)


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    service = "/prism.interfaces.keyvalue.KeyValueBasicInterface/"
    return {service + "Get": SealedGet(), service + "Set": SealedSet()}
