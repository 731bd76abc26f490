# cython: language_level=3
"""Value, answered natively: from the bytes of the request to those of the reply without an object of Python's but the
counter's name. What is unusual falls back to the servicer of the same method."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport (
    PROTO_LEN, proto_bytes_t, proto_length_delimited, proto_put_varint, proto_reader_t, proto_skip, proto_tag,
    proto_utf8, proto_varint_size,
)
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute


cdef class Numbers:
    """The store of a tally. `answered` counts what native code has answered from it."""
    cdef readonly dict values
    cdef readonly int64_t start, answered

    def __init__(self, int64_t start):
        self.values = {}
        self.start = start

    def get(self, bytes name not None) -> int:
        return self.values.get(name, self.start)

    def set(self, bytes name not None, int64_t value) -> None:
        self.values[name] = value


cdef int read_name(const uint8_t* data, size_t n, proto_bytes_t* name) noexcept:
    """Field 1; 0 when the request is ordinary."""
    cdef proto_reader_t reader
    cdef uint32_t number
    cdef int wire_type, more
    name.data = reader.at = data
    name.length = 0
    reader.end = data + n
    while True:
        more = proto_tag(&reader, &number, &wire_type)
        if more <= 0:
            return more if name.length else -1
        if number == 1 and wire_type == PROTO_LEN:
            if proto_length_delimited(&reader, name) or not proto_utf8(name[0]):
                return -1
        elif proto_skip(&reader, number, wire_type, 0):
            return -1


cdef class ValueHandler(Handler):
    cdef Binding bind(self, NativeRoute route, Method method):
        found = route.bindings.get(method.service)
        return <Binding>found if found is not None and isinstance((<Binding>found).store, Numbers) else None

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef Numbers numbers = <Numbers>stream.binding.store
        cdef proto_bytes_t name
        cdef int64_t value
        cdef uint8_t* out
        if read_name(data, n, &name):
            self.fall_back(stream, data, n)
            return
        value = numbers.get((<char*>name.data)[:name.length])
        numbers.answered += 1
        out = stream.reply_begin(1 + proto_varint_size(<uint64_t>value) if value else 0)
        if out != NULL:
            if value:
                out[0] = 0x08  # field 1, varint
                proto_put_varint(out + 1, <uint64_t>value)
            stream.reply_end()


def handlers() -> dict[str, Handler]:
    """The native handlers by method path; the driver's class names this function."""
    return {"/toy.interfaces.counter.CounterBasicInterface/Value": ValueHandler()}
