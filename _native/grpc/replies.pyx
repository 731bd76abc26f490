"""Messages of a call that goes on, from Python. None of them is copied before it is framed; what Python holds is held
until then, and a message of many streams by each of them."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from prism_proxy._native.http2.buffers cimport chunk_borrow, chunk_t
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.envelope.framed cimport BorrowedMessage, framed_chunk, framed_t
from prism_proxy._native.http2.session cimport H2_INTERNAL_ERROR


cdef class QueuedTotal:
    def __cinit__(self, int64_t limit):
        self.limit = limit

    def take(self, int64_t size) -> bool:
        """Whether so much may wait too. What was taken must be given back."""
        if self.used >= self.limit:
            self.refused += 1
            return False
        self.used += size
        return True

    def hold(self, int64_t size) -> None:
        """So much waits, whether there is room or not."""
        self.used += size

    def give(self, int64_t size) -> None:
        self.used -= size


cdef class OutputSource:
    cdef void pump(self) noexcept: pass
    cdef void gone(self) noexcept: pass


cdef void release_object(void* owner) noexcept:
    Py_DECREF(<object>owner)


cdef void send_message(ServerStream stream, bytes message, bint compressed) noexcept:
    """Queue a message of this stream alone."""
    cdef chunk_t* rest = NULL
    cdef uint8_t* out
    cdef size_t n = PyBytes_GET_SIZE(message)
    if stream.session is None or stream.answered:
        return
    out = stream.reply_begin_split(0, n)
    if out == NULL:
        return
    (out - 5)[0] = compressed
    if n:
        Py_INCREF(message)
        rest = chunk_borrow(<const uint8_t*>PyBytes_AS_STRING(message), n, <void*>message, release_object)
        if rest == NULL:
            Py_DECREF(message)
            stream.reset(H2_INTERNAL_ERROR)
            return
    stream.message_end(rest)


cdef void send_borrowed(ServerStream stream, BorrowedMessage message) noexcept:
    """Queue a message of this stream alone, whose body stays where it is."""
    cdef chunk_t* rest = NULL
    cdef size_t head = PyBytes_GET_SIZE(message.head)
    cdef size_t body = <size_t>message.body.len
    cdef uint8_t* out
    if stream.session is None or stream.answered:
        return
    out = stream.reply_begin_split(head, head + body)
    if out == NULL:
        return
    memcpy(out, PyBytes_AS_STRING(message.head), head)
    if body:
        Py_INCREF(message)
        rest = chunk_borrow(<const uint8_t*>message.body.buf, body, <void*>message, release_object)
        if rest == NULL:
            Py_DECREF(message)
            stream.reset(H2_INTERNAL_ERROR)
            return
    stream.message_end(rest)


cdef void send_framed(ServerStream stream, framed_t* framed) noexcept:
    """Queue a message that other streams send as well."""
    cdef chunk_t* chunk
    if stream.session is None or stream.answered:
        return
    if framed.length - 5 > <size_t>stream.core.limits.max_reply_bytes:
        stream.reply_too_large(framed.length - 5)
        return
    chunk = framed_chunk(framed)
    if chunk == NULL:
        stream.reset(H2_INTERNAL_ERROR)
        return
    stream.enqueue(chunk)
    stream.send_head(False)
    stream.session.resume(stream)
