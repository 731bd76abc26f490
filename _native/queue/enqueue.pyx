"""Enqueue and EnqueueBatch where the queues are in this process: from the request's bytes to entries of a queue.

An EnqueueRequest has the layout of a PublishRequest, and what is ordinary is the same. A batch is ordinary when all of
its messages are, and fit; else all of it is the servicer's, which says what is wrong with which.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t

from prism_proxy._native.envelope.codec cimport UUID_TEXT, uuid7_now_ms
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport (
    PROTO_LEN, proto_bytes_t, proto_length_delimited, proto_reader_t, proto_skip, proto_tag,
)
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, bound
from prism_proxy._native.http2.buffers cimport chunk_free
from prism_proxy._native.pubsub.publish cimport publish_request_t, publish_scan, trace_of
from prism_proxy._native.queue.entries cimport QueueEntries
from prism_proxy._native.queue.local cimport MAX_BATCH, LocalQueues, queue_item_scan

cdef enum:
    DEFAULT_PRIORITY = 5
    RESPONSE = 2 + UUID_TEXT    # bytes of an EnqueueResponse


cdef class QueueHandler(Handler):
    """Base of both."""

    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, LocalQueues)

    cdef QueueEntries opened(self, ServerStream stream, LocalQueues queues, str name, int64_t size):
        """The queue, which is made where there is none, with memory for `size` bytes; None without."""
        if not queues.table.memory.fits(size):
            return None
        try:
            queues.uses(name)
            found = queues.known(name)
            return found if found is not None else <QueueEntries?>queues.table.make(name)
        except Exception as error:
            queues.table.memory.change(-size)
            self.report(stream, error)
            return None

    cdef void report(self, ServerStream stream, object error) noexcept:
        stream.core.loop.call_exception_handler({"message": "a message was not enqueued", "exception": error})

    cdef bint stored(self, ServerStream stream, LocalQueues queues, QueueEntries queue,
                     const publish_request_t* request, int priority, int64_t now, const uint8_t* trace,
                     uint8_t* response) noexcept:
        """Keep a message and write its EnqueueResponse. False without memory, or randomness."""
        response[0], response[1] = 1 << 3 | PROTO_LEN, UUID_TEXT
        try:
            queues.store(queue, request, priority, now, trace, response + 2)
            return True
        except Exception as error:
            queues.table.memory.change(-queues.size_of(request, trace != NULL))
            self.report(stream, error)
            return False

    cdef void stored_all(self, ServerStream stream, LocalQueues queues, QueueEntries queue, int count) noexcept:
        """So many messages were."""
        try:
            queues.counts.enqueued += count
            if queue.waiting:
                queue.wake()
        except Exception as error:
            self.report(stream, error)


cdef class EnqueueHandler(QueueHandler):
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef LocalQueues queues = <LocalQueues>stream.binding.store
        cdef publish_request_t request
        cdef QueueEntries queue = None
        cdef uint8_t trace[32]
        cdef bint traced = trace_of(stream, trace)
        cdef uint8_t* out
        cdef str name = None
        if publish_scan(data, n, &request) == 0 and request.payload.length <= queues.most_bytes:
            name = queues.name_of(request.topic)
        if name is not None:
            queue = self.opened(stream, queues, name, queues.size_of(&request, traced))
        if queue is None:
            self.fall_back(stream, data, n)
            return
        out = stream.reply_begin(RESPONSE)
        if out == NULL:
            queues.table.memory.change(-queues.size_of(&request, traced))
        elif self.stored(stream, queues, queue, &request, DEFAULT_PRIORITY, uuid7_now_ms(), trace if traced else NULL,
                         out):
            self.stored_all(stream, queues, queue, 1)
            stream.reply_end()
        else:
            chunk_free(stream.reply_chunk)
            stream.reply_chunk = NULL
            self.fall_back(stream, data, n)


cdef class EnqueueBatchHandler(QueueHandler):
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef LocalQueues queues = <LocalQueues>stream.binding.store
        cdef QueueEntries queue = None
        cdef publish_request_t request
        cdef proto_reader_t reader
        cdef proto_bytes_t name, item
        cdef uint8_t trace[32]
        cdef bint traced = trace_of(stream, trace)
        cdef int64_t now = uuid7_now_ms(), size = 0
        cdef int count, i, priority
        cdef uint8_t* out
        cdef str text = None
        count = self.ordinary(queues, data, n, traced, &name, &size)
        if count > 0:
            text = queues.name_of(name)
        if text is not None:
            queue = self.opened(stream, queues, text, size)
        if queue is None:
            self.fall_back(stream, data, n)
            return
        out = stream.reply_begin(<size_t>count * (2 + RESPONSE) + 2)
        if out == NULL:
            queues.table.memory.change(-size)
            return
        reader.at, reader.end = data, data + n
        for i in range(count):
            while next_field(&reader, &item) != 2:
                pass
            queue_item_scan(item, &request, &priority)
            out[0], out[1] = 1 << 3 | PROTO_LEN, RESPONSE
            size -= queues.size_of(&request, traced)
            if not self.stored(stream, queues, queue, &request, priority, now, trace if traced else NULL, out + 2):
                queues.table.memory.change(-size)
                self.stored_all(stream, queues, queue, i)
                stream.fail(8, "OUT_OF_MEMORY", f"no memory for the message; {i} were enqueued")
                return
            out += 2 + RESPONSE
        out[0], out[1] = 2 << 3, 1      # all_success
        self.stored_all(stream, queues, queue, count)
        stream.reply_end()

    cdef int ordinary(self, LocalQueues queues, const uint8_t* data, size_t n, bint traced, proto_bytes_t* name,
                      int64_t* size) noexcept:
        """How many messages the batch has, their queue and their size in memory; -1 when it is for the servicer."""
        cdef publish_request_t request
        cdef proto_reader_t reader
        cdef proto_bytes_t found
        cdef int count = 0, field, priority
        name.data, name.length = data, 0
        reader.at, reader.end = data, data + n
        while True:
            field = next_field(&reader, &found)
            if field <= 0:
                return count if field == 0 else -1
            if field == 1:
                name[0] = found
            elif field == 2:
                if count == MAX_BATCH or queue_item_scan(found, &request, &priority) or (
                        request.payload.length > queues.most_bytes):
                    return -1
                size[0] += queues.size_of(&request, traced)
                count += 1


cdef int next_field(proto_reader_t* reader, proto_bytes_t* found) noexcept nogil:
    """The number of the next field, and its bytes where it is 1 or 2; 0 at the end, -1 when it is malformed."""
    cdef uint32_t field
    cdef int kind, more = proto_tag(reader, &field, &kind)
    if more <= 0:
        return more
    if kind == PROTO_LEN and field <= 2:
        return <int>field if proto_length_delimited(reader, found) == 0 else -1
    return -1 if proto_skip(reader, field, kind, 0) else 3


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    return {"/prism.interfaces.queue.QueueBasicInterface/Enqueue": EnqueueHandler(),
            "/prism.interfaces.queue.QueueBatchInterface/EnqueueBatch": EnqueueBatchHandler()}
