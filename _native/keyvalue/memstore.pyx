"""Native handlers of KeyValueBasicInterface and KeyValueCASInterface over the memory store.

They serve the ordinary case from the request's bytes to the reply's without a Python object. Whatever is unusual (a
request that does not decode, a key out of bounds, a full store) is handed to the servicer of the same method, so that
rules and error messages exist once.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from prism_proxy._native.http2.buffers cimport chunk_borrow, chunk_t
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.memstore.store cimport (
    MS_OK, MemStore, blob_ref, blob_t, blob_unref,
)
from prism_proxy._native.grpc.protowire cimport (
    PROTO_LEN, proto_bytes_t, proto_put_varint, proto_reader_t, proto_length_delimited, proto_skip, proto_tag,
    proto_utf8, proto_varint_size,
)
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute

cdef enum:
    MAX_KEY_BYTES = 64 * 1024
    SUCCESS_TAG = 0x08          # field 1, varint: success, found, exists, swapped, deleted
    VALUE_TAG = 0x12            # field 2, bytes: value, actual


cdef int read_tags(proto_bytes_t message, int depth) noexcept nogil:
    """Check prism.common.Tags (depth 0) or one entry of its map (depth 1). The values are not kept."""
    cdef proto_reader_t reader
    cdef proto_bytes_t field
    cdef uint32_t number
    cdef int wire_type, more
    reader.at = message.data
    reader.end = message.data + message.length
    while True:
        more = proto_tag(&reader, &number, &wire_type)
        if more <= 0:
            return more
        if wire_type == PROTO_LEN and (number == 1 or (depth == 1 and number == 2)):
            if proto_length_delimited(&reader, &field):
                return -1
            if depth == 0:
                if read_tags(field, 1):
                    return -1
            elif not proto_utf8(field):
                return -1
        elif proto_skip(&reader, number, wire_type, 0):
            return -1


cdef int read_request(const uint8_t* data, size_t n, proto_bytes_t* key, proto_bytes_t* value) noexcept nogil:
    """Fields 1 (key) and, where `value` is given, 2 (value) and 3 (tags). 0 when the request is ordinary."""
    cdef proto_reader_t reader
    cdef proto_bytes_t field
    cdef uint32_t number
    cdef int wire_type, more
    key.data = data
    key.length = 0
    reader.at = data
    reader.end = data + n
    while True:
        more = proto_tag(&reader, &number, &wire_type)
        if more < 0:
            return -1
        if more == 0:
            return 0 if 0 < key.length <= MAX_KEY_BYTES else -1
        if wire_type == PROTO_LEN and (number == 1 or (value != NULL and number <= 3)):
            if proto_length_delimited(&reader, &field):
                return -1
            if number == 1:
                if not proto_utf8(field):
                    return -1
                key[0] = field
            elif number == 2:
                value[0] = field
            elif read_tags(field, 0):
                return -1
        elif proto_skip(&reader, number, wire_type, 0):
            return -1


cdef int read_comparison(const uint8_t* data, size_t n, comparison_t* found, bint with_value) noexcept nogil:
    """Fields 1 (key), 2 (expected) and, for a request with one, 3 (value). 0 when the request is ordinary."""
    cdef proto_reader_t reader
    cdef proto_bytes_t field
    cdef uint32_t number
    cdef int wire_type, more
    found.key.data = found.expected.data = found.value.data = data
    found.key.length = found.expected.length = found.value.length = 0
    found.is_expected = False
    reader.at = data
    reader.end = data + n
    while True:
        more = proto_tag(&reader, &number, &wire_type)
        if more < 0:
            return -1
        if more == 0:
            return 0 if 0 < found.key.length <= MAX_KEY_BYTES else -1
        if wire_type == PROTO_LEN and number <= (3 if with_value else 2):
            if proto_length_delimited(&reader, &field):
                return -1
            if number == 1:
                if not proto_utf8(field):
                    return -1
                found.key = field
            elif number == 2:
                found.expected = field
                found.is_expected = True
            else:
                found.value = field
        elif proto_skip(&reader, number, wire_type, 0):
            return -1


cdef class KeyValueHandler(PermittedHandler):
    """Base of all of them; a subclass knows a store."""

    cdef void reply_flag(self, ServerStream stream, bint flag) noexcept:
        """A reply whose field 1 is a bool and nothing else is set."""
        cdef uint8_t* out = stream.reply_begin(2 if flag else 0)
        if out != NULL:
            if flag:
                out[0] = SUCCESS_TAG
                out[1] = 1
            stream.reply_end()

    cdef uint8_t* reply_value_head(self, ServerStream stream, size_t inline_bytes, size_t value_bytes,
                                   bint flag) noexcept:
        """Begin the reply with a value, `inline_bytes` of which go to the place returned, and field 1 as `flag`. NULL
        when it failed."""
        cdef size_t head = (3 if flag else 1) + proto_varint_size(value_bytes)
        cdef uint8_t* out = stream.reply_begin_split(head + inline_bytes, head + value_bytes)
        if out == NULL:
            return NULL
        if flag:
            out[0] = SUCCESS_TAG
            out[1] = 1
            out += 2
        out[0] = VALUE_TAG
        return proto_put_varint(out + 1, value_bytes)


cdef class MemoryHandler(KeyValueHandler):
    """Base of the handlers over the memory store: they answer at once."""

    cdef Binding bind(self, NativeRoute route, Method method):
        found = route.bindings.get(method.service)
        if found is None or not isinstance((<Binding>found).store, MemStore):
            return None
        return <Binding>found if self.any_values or (<Binding>found).cipher is None else None

    cdef void reply_blob(self, ServerStream stream, blob_t* blob, bint flag) noexcept:
        """A reply with a value of the store, which is referenced where it is large."""
        cdef bint copied = blob.length <= COPY_BYTES
        cdef chunk_t* chunk
        cdef uint8_t* out = self.reply_value_head(stream, blob.length if copied else 0, blob.length, flag)
        if out == NULL:
            return
        if copied:
            memcpy(out, blob.data, blob.length)
            stream.reply_end()
            return
        chunk = chunk_borrow(blob.data, blob.length, <void*>blob, release_blob)
        if chunk == NULL:
            stream.fail(8, "OUT_OF_MEMORY", "no memory for the reply")
            return
        blob_ref(blob)
        stream.reply_end_with(chunk)


cdef class GetHandler(MemoryHandler):
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef proto_bytes_t key
        cdef blob_t* blob
        cdef MemStore store = <MemStore>stream.binding.store
        if read_request(data, n, &key, NULL):
            self.fall_back(stream, data, n)
            return
        blob = store.native_get(key.data, key.length, stream.session.now_ns)
        if blob == NULL or blob.length == 0:
            self.reply_flag(stream, blob != NULL)
        else:
            self.reply_blob(stream, blob, True)


cdef class SetHandler(MemoryHandler):
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef proto_bytes_t key, value
        cdef MemStore store = <MemStore>stream.binding.store
        value.data = data
        value.length = 0
        if store.sealed or read_request(data, n, &key, &value) or store.native_set(
                key.data, key.length, value.data, value.length, stream.session.now_ns) != MS_OK:
            self.fall_back(stream, data, n)
            return
        self.reply_flag(stream, True)


cdef class DeleteHandler(MemoryHandler):
    def __cinit__(self):
        self.any_values = True

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef proto_bytes_t key
        cdef MemStore store = <MemStore>stream.binding.store
        if store.sealed or read_request(data, n, &key, NULL):
            self.fall_back(stream, data, n)
            return
        store.native_delete(key.data, key.length, stream.session.now_ns)
        self.reply_flag(stream, True)


cdef class ExistsHandler(MemoryHandler):
    def __cinit__(self):
        self.any_values = True

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef proto_bytes_t key
        cdef MemStore store = <MemStore>stream.binding.store
        if read_request(data, n, &key, NULL):
            self.fall_back(stream, data, n)
            return
        self.reply_flag(stream, store.native_exists(key.data, key.length, stream.session.now_ns) != 0)


cdef class CompareHandler(MemoryHandler):
    """Base of the conditional writes. What is there is not copied but compared in place, in the call that writes."""

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef comparison_t asked
        cdef blob_t* blob
        cdef MemStore store = <MemStore>stream.binding.store
        if store.sealed or read_comparison(data, n, &asked, self.has_value()):
            self.fall_back(stream, data, n)
            return
        blob = store.native_get(asked.key.data, asked.key.length, stream.session.now_ns)
        if self.matches(&asked, blob):
            if self.write(store, &asked, stream.session.now_ns):
                self.reply_flag(stream, True)
            else:
                self.fall_back(stream, data, n)
        elif blob == NULL:
            self.reply_flag(stream, False)
        else:
            self.reply_blob(stream, blob, False)

    cdef bint matches(self, const comparison_t* asked, const blob_t* blob) noexcept:
        if blob == NULL:
            return not asked.is_expected and self.has_value()
        if not asked.is_expected and self.has_value():
            return False
        return blob.length == asked.expected.length and memcmp(blob.data, asked.expected.data, blob.length) == 0

    cdef bint has_value(self) noexcept:
        return False

    cdef bint write(self, MemStore store, const comparison_t* asked, int64_t now_ns) noexcept:
        """False when the servicer must say why it cannot be."""
        return False


cdef class CompareAndSwapHandler(CompareHandler):
    """Without `expected` the key must not exist."""

    cdef bint has_value(self) noexcept:
        return True

    cdef bint write(self, MemStore store, const comparison_t* asked, int64_t now_ns) noexcept:
        return store.native_set(asked.key.data, asked.key.length, asked.value.data, asked.value.length,
                                now_ns) == MS_OK


cdef class CompareAndDeleteHandler(CompareHandler):
    """Without `expected` the value must be empty, as with an empty one."""

    cdef bint write(self, MemStore store, const comparison_t* asked, int64_t now_ns) noexcept:
        store.native_delete(asked.key.data, asked.key.length, now_ns)
        return True


cdef void release_blob(void* owner) noexcept:
    blob_unref(<blob_t*>owner)


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    basic = "/prism.interfaces.keyvalue.KeyValueBasicInterface/"
    cas = "/prism.interfaces.keyvalue.KeyValueCASInterface/"
    return {
        basic + "Get": GetHandler(), basic + "Set": SetHandler(),
        basic + "Delete": DeleteHandler(), basic + "Exists": ExistsHandler(),
        cas + "CompareAndSwap": CompareAndSwapHandler(), cas + "CompareAndDelete": CompareAndDeleteHandler(),
    }
