from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.http2.buffers cimport chunk_t
from prism_proxy._native.http2.session cimport H2Stream


cdef class ForwardRequest(H2Stream):
    """While it waits for a connection, `next` and `previous` link the queue of `ForwardQueue`."""
    cdef void* newer                    # the list of the handler's calls
    cdef void* older
    cdef int64_t waiting_since_ns
    cdef bint waiting
    cdef chunk_t* replay_buffer
    cdef chunk_t* replay_last
    cdef size_t replay_bytes
    cdef size_t replay_most               # bytes that are kept; a longer request is not sent a second time
    cdef bint incomplete                # not all of the request is kept
    cdef uint8_t prefix[5]              # of the message that is passing
    cdef int prefix_length
    cdef size_t message_left

    cdef bint fits(self, const uint8_t* data, size_t n, size_t most) noexcept
    cdef bint append(self, const uint8_t* data, size_t n) noexcept
    cdef bint push_borrowed(self, chunk_t* replay_buffer) noexcept
    cdef void push(self, chunk_t* chunk) noexcept
    cdef void take_request(self, ForwardRequest other) noexcept
    cdef void drop_replay(self) noexcept
