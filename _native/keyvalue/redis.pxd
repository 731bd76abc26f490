"""What native handlers know of a namespace on Redis."""
from libc.stdint cimport uint8_t, uint32_t

from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport proto_bytes_t
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute
from prism_proxy._native.keyvalue.memstore cimport KeyValueHandler
from prism_proxy._native.redis.resp cimport FairShare, RespConnection, Writes, argument_t, reply_fn, resp_reply_t


cdef class PoolSlots:
    cdef readonly list connections      # RespConnection or None; the last one is for large values
    cdef readonly list writes           # Writes by place: those on their way over its connections


cdef class RedisStore:
    cdef readonly bytes prefix          # of every key of the namespace
    cdef readonly size_t bulk_bytes
    cdef readonly size_t max_value_bytes
    cdef readonly uint32_t max_pending
    cdef PoolSlots places                  # None while detached
    cdef readonly list shares           # FairShare by place
    cdef readonly dict describe         # "expired", "unknown": makes the error of a call without an answer
    cdef public bytes swap_script, delete_script    # digests of the scripts that compare
    cdef uint32_t seed                  # of the hash of keys
    cdef Py_ssize_t place_of(self, const uint8_t* key, size_t n) noexcept
    cdef uint32_t bucket_of(self, const uint8_t* key, size_t n) noexcept
    cdef Py_ssize_t place_of_write(self, const uint8_t* key, size_t n, size_t value_bytes, uint32_t* bucket) noexcept
    cdef RespConnection usable(self, Py_ssize_t place)


cdef class RedisHandler(KeyValueHandler):
    cdef reply_fn done
    cdef int expects
    cdef bytes verb
    cdef bint writes
    cdef RedisStore store_of(self, ServerStream stream)
    cdef bint any_values        # serves encrypted namespaces too: it sees no value, or knows their cipher
    cdef int send_for_key(self, ServerStream stream, const proto_bytes_t* key, size_t value_bytes, int count,
                          argument_t* arguments, int key_at) noexcept
    cdef bint has_value(self) noexcept
    # Between the value of a caller and that of the store; 0, or -1: the servicer must serve the call
    cdef int to_store(self, ServerStream stream, const proto_bytes_t* key, proto_bytes_t* value) noexcept
    cdef int from_store(self, ServerStream stream, const proto_bytes_t* key, proto_bytes_t* value) noexcept
    cdef bint over(self, ServerStream stream, int outcome, const resp_reply_t* reply, const uint8_t* command,
                   size_t n) noexcept
    cdef void fall_back_with(self, ServerStream stream, const uint8_t* command, size_t n) noexcept
    cdef void serve_otherwise(self, ServerStream stream, const proto_bytes_t* fields, int count) noexcept
    cdef void fail_expired(self, ServerStream stream) noexcept
    cdef void fail_too_large(self, ServerStream stream, const resp_reply_t* reply) noexcept
    cdef void backend_failed(self, ServerStream stream, str reason) noexcept
    cdef void fail_unknown(self, ServerStream stream) noexcept

cdef void flag_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command, size_t n) noexcept
