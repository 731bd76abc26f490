"""Dequeue, DequeueWithTimeout, Release and ReleaseBatch where the queues are in this process.

They serve what is there and needs no rule: messages that native code enqueued, and leases that end because their
message is done. A call that has to wait, a message that a servicer enqueued or that expired, and a message that goes
back are the servicer's.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from prism_proxy._native.envelope.codec cimport uuid7_now_ms
from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.core cimport Method
from prism_proxy._native.grpc.protowire cimport (
    PROTO_LEN, PROTO_VARINT, proto_bytes_t, proto_length_delimited, proto_put_varint, proto_reader_t, proto_skip,
    proto_tag, proto_varint, proto_varint_size,
)
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, bound
from prism_proxy._native.queue.entries cimport MAX_RECEIPT, Entry, QueueEntries, is_expired, put_receipt
from prism_proxy._native.queue.local cimport MAX_BATCH, MAX_RECEIPT_TEXT, LocalQueues

cdef enum:
    MOST_VISIBILITY_S = 43_200
    FIELDS = 6


cdef struct request_t:
    proto_bytes_t queue
    proto_bytes_t receipt       # the last one
    int receipts
    uint64_t number[FIELDS]     # of the fields that are numbers, by field
    bint other                  # a field that only the servicer knows


cdef int read_request(const uint8_t* data, size_t n, int texts, request_t* out) noexcept nogil:
    """A request whose first `texts` fields, one or two, are texts and the rest numbers. 0, or -1."""
    cdef proto_reader_t reader
    cdef proto_bytes_t found
    cdef uint32_t field
    cdef int kind, more
    memset(out, 0, sizeof(request_t))
    out.queue.data = data
    reader.at, reader.end = data, data + n
    while True:
        more = proto_tag(&reader, &field, &kind)
        if more <= 0:
            return more
        if kind == PROTO_LEN and <int>field <= texts:
            if proto_length_delimited(&reader, &found):
                return -1
            if field == 1:
                out.queue = found
            else:
                if not usable_receipt(found):
                    return -1
                out.receipt = found
                out.receipts += 1
        elif kind == PROTO_VARINT and texts < <int>field < FIELDS:
            if proto_varint(&reader, 10, &out.number[field]):
                return -1
        else:
            out.other = out.other or field < FIELDS
            if proto_skip(&reader, field, kind, 0):
                return -1


cdef bint usable_receipt(proto_bytes_t receipt) noexcept nogil:
    """Whether it may be one: others are refused, or are no text at all."""
    cdef size_t i
    for i in range(receipt.length):
        if receipt.data[i] >= 0x80:
            return False
    return 0 < receipt.length <= MAX_RECEIPT_TEXT


cdef class QueueHandler(Handler):
    """Base of all four."""

    cdef Binding bind(self, NativeRoute route, Method method):
        return bound(route, method.service, LocalQueues)

    cdef void report(self, ServerStream stream, object error) noexcept:
        stream.core.loop.call_exception_handler({"message": "a queue could not be served", "exception": error})


# --- messages that go out -------------------------------------------------------------------------------------------

cdef class TakeHandler(QueueHandler):
    """`leases`: messages stay until their receipts are settled; else they are gone."""
    cdef bint leases

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        try:
            if not self.serve(stream, <LocalQueues>stream.binding.store, data, n):
                self.fall_back(stream, data, n)
        except Exception as error:
            self.report(stream, error)
            stream.fail(13, "INTERNAL", "the queue could not be served")

    cdef bint serve(self, ServerStream stream, LocalQueues queues, const uint8_t* data, size_t n) except -1:
        """Answer the call; False when it is the servicer's."""
        cdef request_t asked
        cdef QueueEntries queue
        cdef int64_t now = uuid7_now_ms(), visibility_ms
        cdef uint64_t most, wait_ms
        cdef Py_ssize_t count
        cdef size_t size = 0
        cdef str name
        if read_request(data, n, 1, &asked) or asked.other:
            return False
        most = (asked.number[3] if self.leases else asked.number[2]) or 1
        wait_ms = asked.number[4] if self.leases else asked.number[3]
        if most > MAX_BATCH or wait_ms > <uint64_t>queues.max_wait_ms or (
                self.leases and asked.number[2] > MOST_VISIBILITY_S):
            return False
        visibility_ms = <int64_t>asked.number[2] * 1000 if self.leases and asked.number[2] else queues.visibility_ms
        name = queues.name_of(asked.queue)
        if name is None:
            return False
        queue = queues.known(name)
        count = self.servable(queue, most, now, &size) if queue is not None else 0
        if count < 0 or (count == 0 and (wait_ms or queue is not None)):
            return False
        if size > <size_t>stream.core.limits.max_reply_bytes:
            return False
        queues.uses(name)
        self.take(stream, queues, queue, count, size, now + visibility_ms)
        return True

    cdef Py_ssize_t servable(self, QueueEntries queue, uint64_t most, int64_t now, size_t* size) except -2:
        """How many messages come next, and the bytes of the reply with them; -1 when one of them is the servicer's."""
        cdef Entry entry
        cdef Py_ssize_t count = 0
        cdef size_t n
        size[0] = 0
        queue.ripen(now)
        entry = queue.head()
        while entry is not None and <uint64_t>count < most:
            if entry.body is None or is_expired(entry, now):
                return -1
            n = self.message_size(entry)
            size[0] += 1 + proto_varint_size(n) + n
            count += 1
            entry = queue.following(entry)
        return count

    cdef size_t message_size(self, Entry entry) noexcept:
        """Of the QueueMessage of its next delivery."""
        cdef uint8_t receipt[MAX_RECEIPT]
        cdef size_t n = PyBytes_GET_SIZE(entry.body) + 1 + proto_varint_size(<uint64_t>entry.receives + 1)
        if self.leases:
            entry.receives += 1     # as the receipt will have it
            n += 2 + put_receipt(entry, receipt)
            entry.receives -= 1
        return n

    cdef int take(self, ServerStream stream, LocalQueues queues, QueueEntries queue, Py_ssize_t count, size_t size,
                  int64_t due_ms) except -1:
        """Take the next `count` messages and answer with them."""
        cdef Entry entry
        cdef Py_ssize_t again = 0
        cdef size_t n
        cdef uint8_t* out = stream.reply_begin(size)
        if out == NULL:
            return 0
        for _ in range(count):
            entry = queue.head()
            n = self.message_size(entry)
            again += entry.receives > 0
            queue.unlink(entry)
            if self.leases:
                queue.lend(entry, due_ms)
            else:
                entry.receives += 1
            out[0] = 1 << 3 | PROTO_LEN
            out = proto_put_varint(out + 1, n)
            memcpy(out, PyBytes_AS_STRING(entry.body), PyBytes_GET_SIZE(entry.body))
            out += PyBytes_GET_SIZE(entry.body)
            out[0] = 4 << 3
            out = proto_put_varint(out + 1, <uint64_t>entry.receives)
            if self.leases:
                out[0] = 5 << 3 | PROTO_LEN
                n = put_receipt(entry, out + 2)
                out[1] = <uint8_t>n
                out += 2 + n
            else:
                queues.table.memory.change(-queue.drop(entry))
        stream.reply_end()
        if count:
            queues.counts.delivered += count
            queues.counts.redelivered += again
            if self.leases:
                queues.table.ring_at(due_ms)
            if queue.ready_count and queue.waiting:
                queue.wake()
        return 0


# --- leases that end ------------------------------------------------------------------------------------------------

cdef class ReleaseHandler(QueueHandler):
    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        try:
            if not self.serve(stream, <LocalQueues>stream.binding.store, data, n):
                self.fall_back(stream, data, n)
        except Exception as error:
            self.report(stream, error)
            stream.fail(13, "INTERNAL", "a lease could not be ended")

    cdef bint serve(self, ServerStream stream, LocalQueues queues, const uint8_t* data, size_t n) except -1:
        cdef request_t asked
        cdef Entry entry
        cdef QueueEntries queue
        cdef uint8_t* out
        if read_request(data, n, 2, &asked):
            return False
        queue = settling(queues, &asked)
        if queue is None or asked.receipts != 1:
            return False
        entry = queue.leased(asked.receipt.data, asked.receipt.length)
        if entry is None:
            return False
        out = stream.reply_begin(2)
        if out == NULL:
            return True
        queues.table.memory.change(-queue.drop(entry))
        queues.counts.settled += 1
        out[0], out[1] = 1 << 3, 1      # success
        stream.reply_end()
        return True


cdef class ReleaseBatchHandler(ReleaseHandler):
    cdef bint serve(self, ServerStream stream, LocalQueues queues, const uint8_t* data, size_t n) except -1:
        cdef request_t asked
        cdef QueueEntries queue
        cdef size_t error = PyBytes_GET_SIZE(queues.expired)
        cdef uint8_t* done
        cdef uint8_t* out
        cdef int i, settled
        if read_request(data, n, 2, &asked):
            return False
        queue = settling(queues, &asked)
        error += 1 + proto_varint_size(error)       # bytes of a ReleaseResponse with it
        if queue is None or not 0 < asked.receipts <= MAX_BATCH or asked.receipts * (
                1 + proto_varint_size(error) + error) + 2 > <size_t>stream.core.limits.max_reply_bytes:
            return False
        done = <uint8_t*>malloc(asked.receipts)
        if done == NULL:
            raise MemoryError
        try:
            settled = self.end_leases(queues, queue, data, n, done)
            out = stream.reply_begin(
                settled * 4 + (asked.receipts - settled) * (1 + proto_varint_size(error) + error)
                + (2 if settled == asked.receipts else 0))
            if out == NULL:
                return True
            for i in range(asked.receipts):
                out = put_result(out, done[i], queues.expired, error)
            if settled == asked.receipts:
                out[0], out[1] = 2 << 3, 1      # all_success
        finally:
            free(done)
        stream.reply_end()
        return True

    cdef int end_leases(self, LocalQueues queues, QueueEntries queue, const uint8_t* data, size_t n,
                        uint8_t* done) except -1:
        """Forget the messages of the receipts; which were leased, and how many of them."""
        cdef proto_reader_t reader
        cdef proto_bytes_t receipt
        cdef uint32_t field
        cdef int kind, i = 0, settled = 0
        cdef Entry entry
        reader.at, reader.end = data, data + n
        while proto_tag(&reader, &field, &kind) == 1:
            if kind != PROTO_LEN or field != 2:
                proto_skip(&reader, field, kind, 0)
                continue
            if proto_length_delimited(&reader, &receipt):
                break       # it was read before, so it can be read
            entry = queue.leased(receipt.data, receipt.length)
            done[i] = entry is not None
            if entry is not None:
                queues.table.memory.change(-queue.drop(entry))
                settled += 1
            i += 1
        queues.counts.settled += settled
        return settled


cdef uint8_t* put_result(uint8_t* out, bint settled, bytes expired, size_t error) noexcept:
    """A ReleaseResponse in a batch's reply."""
    out[0] = 1 << 3 | PROTO_LEN
    if settled:
        out[1], out[2], out[3] = 2, 1 << 3, 1
        return out + 4
    out = proto_put_varint(out + 1, error)
    out[0] = 2 << 3 | PROTO_LEN
    out = proto_put_varint(out + 1, PyBytes_GET_SIZE(expired))
    memcpy(out, PyBytes_AS_STRING(expired), PyBytes_GET_SIZE(expired))
    return out + PyBytes_GET_SIZE(expired)


cdef QueueEntries settling(LocalQueues queues, const request_t* asked):
    """The queue of a request by which messages are done; None when the request is the servicer's."""
    cdef QueueEntries queue
    cdef int64_t due
    cdef str name
    if asked.other or asked.number[3] != 1 or asked.number[5]:
        return None
    name = queues.name_of(asked.queue)
    queue = queues.known(name) if name is not None else None
    if queue is None:
        return None
    due = queue.leases.first_due()
    return None if 0 < due <= <int64_t>uuid7_now_ms() else queue


def handlers() -> dict[str, Handler]:
    """The native handlers by method path."""
    cdef TakeHandler lease = TakeHandler()
    lease.leases = True
    return {"/prism.interfaces.queue.QueueBasicInterface/Dequeue": TakeHandler(),
            "/prism.interfaces.queue.QueueVisibilityInterface/DequeueWithTimeout": lease,
            "/prism.interfaces.queue.QueueVisibilityInterface/Release": ReleaseHandler(),
            "/prism.interfaces.queue.QueueBatchInterface/ReleaseBatch": ReleaseBatchHandler()}
