"""Sums of record hashes over rows that a database returns; the memory store makes its own."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef extern from "keyvalue/record_hash.h":
    uint64_t record_hash(const uint8_t*, size_t, const uint8_t*, size_t, int64_t) noexcept

cdef enum:
    NEVER = 0                   # the expiry of a record without one


def sum_of(rows, int64_t horizon):
    """(rows, sum of their hashes modulo 2**64) of an iterable of (key, value or None, expiry or NEVER). Left out is
    what does not exist, and what expires before the horizon."""
    cdef uint64_t total = 0
    cdef Py_ssize_t count = 0
    cdef bytes key, value
    cdef int64_t expires
    for key, value, expires in rows:
        if value is None or (expires != NEVER and expires <= horizon):
            continue
        total += record_hash(<const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                             <const uint8_t*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), expires)
        count += 1
    return count, total


def hashes_of(rows, int64_t horizon):
    """As `sum_of`, the hash of each: a dict by key."""
    cdef dict found = {}
    cdef bytes key, value
    cdef int64_t expires
    for key, value, expires in rows:
        if value is not None and (expires == NEVER or expires > horizon):
            found[key] = record_hash(<const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                                     <const uint8_t*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), expires)
    return found
