"""The request of a forwarded call as bytes: queued to be sent, and kept while it may have to be sent again."""
cimport cython
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from prism_proxy._native.http2.buffers cimport chunk_borrow, chunk_bytes, chunk_new, chunk_t, chunks_free
from prism_proxy._native.http2.session cimport H2Stream
from prism_proxy._native.grpc.messages cimport message_length_of


@cython.no_gc
cdef class ForwardRequest(H2Stream):
    """The queue takes bytes before the stream has a connection. Its chunks may borrow from the kept ones."""

    def __dealloc__(self):
        self.discard_output()
        self.drop_replay()

    cdef bint fits(self, const uint8_t* data, size_t n, size_t most) noexcept:
        """Follow the message prefixes in the request: whether each has at most `most` bytes."""
        cdef size_t step
        while n:
            if self.message_left:
                step = self.message_left if self.message_left < n else n
                self.message_left -= step
            else:
                step = <size_t>(5 - self.prefix_length) if <size_t>(5 - self.prefix_length) < n else n
                memcpy(self.prefix + self.prefix_length, data, step)
                self.prefix_length += <int>step
                if self.prefix_length == 5:
                    self.prefix_length = 0
                    self.message_left = message_length_of(self.prefix)
                    if self.message_left > most:
                        return False
            data += step
            n -= step
        return True

    cdef bint append(self, const uint8_t* data, size_t n) noexcept:
        """Queue bytes of the request, also before there is a connection. False: no memory."""
        cdef chunk_t* chunk = chunk_new(n)
        if chunk == NULL:
            return False
        memcpy(chunk_bytes(chunk), data, n)
        if self.incomplete or (self.replay_bytes + n > self.replay_most):
            self.incomplete = True
            self.push(chunk)
            return True
        chunk.next = NULL
        if self.replay_buffer == NULL:
            self.replay_buffer = chunk
        else:
            self.replay_last.next = chunk
        self.replay_last = chunk
        self.replay_bytes += n
        return self.push_borrowed(chunk)

    cdef bint push_borrowed(self, chunk_t* replay_buffer) noexcept:
        cdef chunk_t* chunk = chunk_borrow(replay_buffer.data, replay_buffer.length, NULL, NULL)
        if chunk == NULL:
            return False
        self.push(chunk)
        return True

    cdef void push(self, chunk_t* chunk) noexcept:
        if self.out_tail == NULL:
            self.out_head = chunk
        else:
            self.out_tail.next = chunk
        self.out_tail = chunk
        self.out_bytes += chunk.length

    cdef void take_request(self, ForwardRequest other) noexcept:
        """Queue the request of another stream from its start; that one keeps nothing."""
        cdef chunk_t* chunk = other.replay_buffer
        other.discard_output()
        self.replay_buffer, self.replay_last, self.replay_bytes = chunk, other.replay_last, other.replay_bytes
        other.replay_buffer = NULL
        self.prefix, self.prefix_length, self.message_left = other.prefix, other.prefix_length, other.message_left
        self.out_ended = other.out_ended
        while chunk != NULL:
            self.push_borrowed(chunk)
            chunk = chunk.next

    cdef void drop_replay(self) noexcept:
        """The request will not be sent again; its queue must be empty."""
        chunks_free(self.replay_buffer)
        self.replay_buffer = NULL
        self.incomplete = True
