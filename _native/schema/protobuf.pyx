"""Whether bytes are a message of a Protobuf schema, by tables that are made once per schema."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef extern from "schema/protobuf.h" nogil:
    enum:
        FIELD_PACKABLE, FIELD_UTF8, DIRECT_FIELDS

    ctypedef struct schema_field_t:
        uint32_t number
        uint8_t wire, flags, dense
        int8_t required
        int32_t message, values, count

    ctypedef struct schema_message_t:
        const schema_field_t* fields
        int32_t count
        uint64_t required
        int16_t* direct

    ctypedef struct schema_table_t:
        const schema_message_t* messages
        const int32_t* values

    int schema_valid(const schema_table_t*, int32_t, const uint8_t*, const uint8_t*, int)

from prism_proxy._native.schema.check cimport NativeCheck

MAX_REQUIRED = 64


cdef class ProtobufCheck(NativeCheck):
    """`root` and the rules it leads to are those of `prism_schema.protobuf.tables`. ValueError for a message with more
    fields that have to be there than fit."""

    cdef schema_table_t table
    cdef schema_message_t* messages
    cdef schema_field_t* fields
    cdef int32_t* values

    def __cinit__(self, root) -> None:
        rules = found(root)
        fields = [field for rule in rules for field in rule.fields.values()]
        enums = list({id(field.values): field.values for field in fields if field.values is not None}.values())
        self.messages = <schema_message_t*>calloc(len(rules), sizeof(schema_message_t))
        self.fields = <schema_field_t*>calloc(len(fields) or 1, sizeof(schema_field_t))
        self.values = <int32_t*>calloc(sum(map(len, enums)) or 1, sizeof(int32_t))
        if self.messages is NULL or self.fields is NULL or self.values is NULL:
            raise MemoryError
        starts, at = {}, 0
        for enum in enums:
            starts[id(enum)] = at
            for value in sorted(enum):
                self.values[at] = value
                at += 1
        places = {id(rule): index for index, rule in enumerate(rules)}
        at = 0
        for index, rule in enumerate(rules):
            at = self.add(index, rule, at, places, starts)
        self.table.messages = self.messages
        self.table.values = self.values

    cdef int add(self, int index, rule, int at, dict places, dict starts) except -1:
        cdef schema_message_t* message = &self.messages[index]
        cdef schema_field_t* made
        cdef int i
        if len(rule.required) > MAX_REQUIRED:
            raise ValueError(f"{rule.name} has more than {MAX_REQUIRED} fields that have to be there")
        bits = {number: bit for bit, number in enumerate(rule.required)}
        message.fields = &self.fields[at]
        message.count = len(rule.fields)
        for i in range(DIRECT_FIELDS):
            message.direct[i] = -1
        for place, number in enumerate(sorted(rule.fields)):
            field = rule.fields[number]
            made = &self.fields[at]
            made.number = number
            made.wire = field.wire
            made.flags = (FIELD_PACKABLE if field.packable else 0) | (FIELD_UTF8 if field.utf8 else 0)
            made.required = bits.get(number, -1)
            made.message = -1 if field.message is None else places[id(field.message)]
            if field.values is not None:
                made.values = starts[id(field.values)]
                made.count = len(field.values)
                made.dense = min(field.values) == 0 and max(field.values) == len(field.values) - 1
            if number < DIRECT_FIELDS:
                message.direct[number] = place
            at += 1
        for bit in bits.values():
            message.required |= <uint64_t>1 << <int>bit
        return at

    def __dealloc__(self) -> None:
        free(self.messages)
        free(self.fields)
        free(self.values)

    cdef bint valid(self, const uint8_t* data, size_t n) noexcept:
        return schema_valid(&self.table, 0, data, data + n, 0) != 0

    def __call__(self, bytes data not None) -> bool:
        """True for a message of the type. False may be too strict: ask for reasons."""
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
        return schema_valid(&self.table, 0, at, at + PyBytes_GET_SIZE(data), 0) != 0


cdef list found(root):
    """The rules that a rule leads to, itself first."""
    made, seen, waiting = [], set(), [root]
    while waiting:
        rule = waiting.pop()
        if id(rule) in seen:
            continue
        seen.add(id(rule))
        made.append(rule)
        waiting += [field.message for field in rule.fields.values() if field.message is not None]
    return made
