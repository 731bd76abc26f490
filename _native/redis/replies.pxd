"""What becomes of a reply beyond its bytes."""
from libc.stdint cimport uint8_t

from prism_proxy._native.redis.resp cimport argument_t, resp_reply_t

cdef int expected_of(const argument_t* arguments, int count) noexcept
cdef bint stale_error(const resp_reply_t* reply) noexcept
cdef bint too_large(const resp_reply_t* reply) noexcept     # an error that stands for a value which was left out
cdef int read_command(const uint8_t* command, size_t n, int index, const uint8_t** out, size_t* length) noexcept
cdef void future_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command, size_t n) noexcept
cdef object to_object(const resp_reply_t* reply)
