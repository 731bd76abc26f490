"""Whether bytes are one datum of an Avro schema, by tables that are made once per schema."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

cdef extern from "schema/avro.h" nogil:
    enum:
        AVRO_NULL, AVRO_BOOLEAN, AVRO_INT, AVRO_LONG, AVRO_BYTES, AVRO_STRING, AVRO_FIXED, AVRO_ENUM, AVRO_ARRAY
        AVRO_MAP, AVRO_UNION, AVRO_RECORD

    ctypedef struct avro_node_t:
        int32_t kind, size, first

    ctypedef struct avro_walk_t:
        const avro_node_t* nodes
        const int32_t* children
        int64_t length

    const uint8_t* avro_datum(const avro_walk_t*, int32_t, const uint8_t*, const uint8_t*, int)

from prism_proxy._native.schema.check cimport NativeCheck

cdef dict KINDS = {
    "null": (AVRO_NULL, 0), "boolean": (AVRO_BOOLEAN, 0), "int": (AVRO_INT, 0), "long": (AVRO_LONG, 0),
    "float": (AVRO_FIXED, 4), "double": (AVRO_FIXED, 8), "bytes": (AVRO_BYTES, 0), "string": (AVRO_STRING, 0),
}


cdef class AvroCheck(NativeCheck):
    """`root` and the types it leads to are those of `prism_schema.avro.types`."""

    cdef avro_walk_t walk
    cdef avro_node_t* nodes
    cdef int32_t* children

    def __cinit__(self, root) -> None:
        types = found(root)
        inside = [of(kind) for kind in types]
        self.nodes = <avro_node_t*>calloc(len(types), sizeof(avro_node_t))
        self.children = <int32_t*>calloc(sum(map(len, inside)) or 1, sizeof(int32_t))
        if self.nodes is NULL or self.children is NULL:
            raise MemoryError
        places = {id(kind): index for index, kind in enumerate(types)}
        at = 0
        for index, kind in enumerate(types):
            self.nodes[index].first = at
            if kind.kind in KINDS:
                self.nodes[index].kind, self.nodes[index].size = KINDS[kind.kind]
            elif kind.kind == "fixed":
                self.nodes[index].kind, self.nodes[index].size = AVRO_FIXED, kind.size
            elif kind.kind == "enum":
                self.nodes[index].kind, self.nodes[index].size = AVRO_ENUM, len(kind.symbols)
            else:
                self.nodes[index].kind = {"array": AVRO_ARRAY, "map": AVRO_MAP, "union": AVRO_UNION}.get(
                    kind.kind, AVRO_RECORD)
                self.nodes[index].size = len(inside[index])
            for child in inside[index]:
                self.children[at] = places[id(child)]
                at += 1
        self.walk.nodes = self.nodes
        self.walk.children = self.children

    def __dealloc__(self) -> None:
        free(self.nodes)
        free(self.children)

    cdef bint valid(self, const uint8_t* data, size_t n) noexcept:
        self.walk.length = n
        return avro_datum(&self.walk, 0, data, data + n, 0) == data + n

    def __call__(self, bytes data not None) -> bool:
        """True for a datum of the type, and nothing behind it. False may be too strict: ask for reasons."""
        return self.valid(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef list of(kind):
    """The types directly inside a type."""
    return [*kind.branches, *(field.type for field in kind.fields), *([] if kind.items is None else [kind.items])]


cdef list found(root):
    """The types that a type leads to, itself first."""
    made, seen, waiting = [], set(), [root]
    while waiting:
        kind = waiting.pop()
        if id(kind) in seen:
            continue
        seen.add(id(kind))
        made.append(kind)
        waiting += of(kind)
    return made
