"""Checksums of a database's rows: one 64-bit number, of which the low half is of key and value, and the high half of
all else and of the low half. So who changes only an expiry, or reads no value, needs no value."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "sqlite/crc32c.h":
    void crc32c_prepare() noexcept
    uint32_t c_crc32c "crc32c"(uint32_t, const void*, size_t) noexcept
    uint32_t crc32c_by_table(uint32_t, const uint8_t*, size_t) noexcept

crc32c_prepare()


cdef uint32_t body_of(bytes key, bytes value) noexcept:
    cdef uint32_t crc = c_crc32c(0, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    return c_crc32c(crc, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef int64_t with_head(uint32_t body, bytes key, int64_t version, int64_t expires) noexcept:
    cdef int64_t[4] head
    cdef uint32_t crc
    head[0] = version
    head[1] = expires
    head[2] = PyBytes_GET_SIZE(key)
    head[3] = body
    crc = c_crc32c(0, head, sizeof(head))
    crc = c_crc32c(crc, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    return <int64_t>((<uint64_t>crc << 32) | body)


def row_sum(bytes key not None, bytes value not None, int64_t version, expires) -> int:
    """Of a whole row; `expires` is a number, or None."""
    return with_head(body_of(key, value), key, version, INT64_MIN if expires is None else <int64_t>expires)


def moved_sum(int64_t stored, bytes key not None, int64_t version, expires) -> int:
    """Of a row whose value stays and whose version or expiry changes. `stored` must have been checked."""
    return with_head(<uint32_t>stored, key, version, INT64_MIN if expires is None else <int64_t>expires)


def head_holds(stored, key, version, expires) -> bool:
    """Whether everything but the value is what was stored. Of the types that a damaged row may have, none holds."""
    if not (PyLong_CheckExact(stored) and PyBytes_CheckExact(key) and PyLong_CheckExact(version)):
        return False
    if not (expires is None or PyLong_CheckExact(expires)):
        return False
    return with_head(<uint32_t><int64_t>stored, key, version, INT64_MIN if expires is None else <int64_t>expires) \
        == <int64_t>stored


def row_holds(stored, key, value, version, expires) -> bool:
    """Whether the row is what was stored."""
    return PyBytes_CheckExact(value) and head_holds(stored, key, version, expires) \
        and body_of(key, value) == <uint32_t><int64_t>stored


def crc32c(bytes data not None) -> int:
    return c_crc32c(0, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def crc32c_portable(bytes data not None) -> int:
    """As `crc32c`, the way of processors without an instruction for it."""
    return ~crc32c_by_table(~<uint32_t>0, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) & 0xffffffff
