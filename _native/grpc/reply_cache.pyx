"""Answers unary calls whose request was answered before, with the same bytes.

For methods without side effects whose owner says when their replies change. The servicer gets what is not kept.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from prism_proxy._native.grpc.call cimport Handler, ServerStream

cdef enum:
    COST = 200      # of an entry beside its bytes
    MOST_ADMITTED = 64


cdef class ReplyCache(Handler):
    """Stands before one method's servicer, which `attach` names. At most `most` bytes are kept; the oldest go first.

    With `guarded` a caller gets what is kept only by an `authorization` that the servicer has accepted, see `admit`.
    """
    cdef dict replies
    cdef set admitted
    cdef bint guarded
    cdef Handler servicer
    cdef size_t size, most
    cdef readonly unsigned long long hits

    def __init__(self, bint guarded=False, size_t most=16 << 20):
        self.replies = {}
        self.admitted = set()
        self.guarded = guarded
        self.most = most

    def attach(self, Handler servicer not None):
        """Who answers what is not kept: of a unary method."""
        if servicer.request_streaming:
            raise ValueError("replies to streams are not kept")
        self.servicer = servicer

    def admit(self, str authorization not None):
        """Callers that show this may have what is kept."""
        if len(self.admitted) < MOST_ADMITTED:
            self.admitted.add(authorization)

    def put(self, bytes request not None, bytes reply not None):
        """Keep the reply to a request, by their bytes."""
        cdef size_t cost = PyBytes_GET_SIZE(request) + PyBytes_GET_SIZE(reply) + COST
        if request in self.replies or cost > self.most:
            return
        self.replies[request] = reply
        self.size += cost
        while self.size > self.most:
            oldest = next(iter(self.replies))
            self.size -= len(oldest) + len(self.replies.pop(oldest)) + COST

    def clear(self):
        """Replies may be others from now on."""
        self.replies.clear()
        self.size = 0

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef uint8_t* out
        cdef object reply = None
        if not self.guarded or self.admits(stream):
            reply = self.replies.get(PyBytes_FromStringAndSize(<const char*>data, n))
        if reply is None:
            stream.handler = self.servicer
            self.servicer.on_start(stream)
            self.servicer.on_message(stream, data, n)
            return
        out = stream.reply_begin(PyBytes_GET_SIZE(reply))
        if out == NULL:
            return
        memcpy(out, PyBytes_AS_STRING(reply), PyBytes_GET_SIZE(reply))
        self.hits += 1
        stream.reply_end()

    cdef bint admits(self, ServerStream stream):
        for name, value in stream.metadata():
            if name == "authorization":
                return value in self.admitted
        return False
