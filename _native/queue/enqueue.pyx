"""Enqueue where the queues are in this process: from the request's bytes to the entry of a queue, without a servicer.

An EnqueueRequest has the layout of a PublishRequest, and what is ordinary is the same. The entry is a Python object,
and the store keeps it by a plain call; the task, the context and the messages of a servicer are what is saved. What
the store does not take is handed to the servicer, which says why.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.envelope.codec cimport UUID_TEXT, next_message_id, uuid7_now_ms
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport PROTO_LEN, proto_bytes_t
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, bound
from prism_proxy._native.http2.buffers cimport chunk_free
from prism_proxy._native.pubsub.publish cimport publish_request_t, publish_scan, trace_of
from prism_proxy._native.pubsub.topics cimport TopicTable, topic_t

cdef str TRACE_ID = "prism-trace-id"


cdef class LocalEnqueuer:
    """`store(queue, payload, headers, message_id, now_ms)` keeps a message, or answers False. `check(queue)` raises for
    a name that is none. Payloads have at most `most_bytes`."""
    cdef object store
    cdef TopicTable names       # the name of each queue as a str, once it was checked
    cdef size_t most_bytes

    def __cinit__(self, store not None, check not None, size_t most_bytes):
        self.store, self.most_bytes = store, most_bytes
        self.names = TopicTable(check)

    cdef bint enqueue(self, ServerStream stream, const publish_request_t* request, str name,
                      uint8_t* message_id) except -1:
        cdef int64_t now = uuid7_now_ms()
        cdef uint8_t trace[32]
        cdef dict headers = {}
        cdef int i
        for i in range(request.entries):
            headers[text(request.key[i])] = text(request.value[i])
        if trace_of(stream, trace):
            headers[TRACE_ID] = PyUnicode_DecodeUTF8(<const char*>trace, 32, NULL)
        next_message_id(message_id, now)
        return self.store(
            name, PyBytes_FromStringAndSize(<const char*>request.payload.data, request.payload.length), headers,
            PyUnicode_DecodeUTF8(<const char*>message_id, UUID_TEXT, NULL), now)


cdef inline str text(proto_bytes_t found):
    return PyUnicode_DecodeUTF8(<const char*>found.data, found.length, NULL)


cdef class EnqueueHandler(Handler):
    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, LocalEnqueuer)

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef LocalEnqueuer enqueuer = <LocalEnqueuer>stream.binding.store
        cdef publish_request_t request
        cdef topic_t* queue
        cdef uint8_t* out
        if publish_scan(data, n, &request) or request.payload.length > enqueuer.most_bytes:
            self.fall_back(stream, data, n)
            return
        queue = enqueuer.names.find(request.topic.data, request.topic.length)
        if queue == NULL or queue.count == 0:
            self.fall_back(stream, data, n)
            return
        out = stream.reply_begin(2 + UUID_TEXT)
        if out == NULL:
            return
        out[0], out[1] = 1 << 3 | PROTO_LEN, UUID_TEXT
        if self.stored(stream, enqueuer, &request, <str>queue.targets[0], out + 2):
            stream.reply_end()
            return
        chunk_free(stream.reply_chunk)
        stream.reply_chunk = NULL
        self.fall_back(stream, data, n)

    cdef bint stored(self, ServerStream stream, LocalEnqueuer enqueuer, const publish_request_t* request, str name,
                     uint8_t* message_id) noexcept:
        try:
            return enqueuer.enqueue(stream, request, name, message_id)
        except Exception as error:      # it is not stored, and the servicer tries again
            stream.core.loop.call_exception_handler({"message": "a message was not enqueued", "exception": error})
            return False


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    return {"/prism.interfaces.queue.QueueBasicInterface/Enqueue": EnqueueHandler()}
