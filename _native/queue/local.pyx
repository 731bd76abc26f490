"""The queues of a namespace whose messages are in this process, for native handlers.

A message that native code enqueued is kept as the bytes of its QueueMessage, but for what differs at each delivery, and
is delivered by copying them. What is not ordinary is the servicer's, over the same queues.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.envelope.codec cimport next_message_id
from prism_proxy._native.grpc.protowire cimport proto_bytes_t
from prism_proxy._native.memstore.store cimport MessageBytes
from prism_proxy._native.pubsub.publish cimport TRACE_TEXT, message_clock
from prism_proxy._native.pubsub.topics cimport TopicTable, topic_t
from prism_proxy._native.queue.entries cimport QueueEntries, new_entry

cdef enum:
    TRACE_KEY_BYTES = 14    # of "prism-trace-id"
    MOST_USED = 1024        # names that are remembered


cdef class QueueTable:
    """All queues of one store. `make(name)` adds one, and `ring_at(milliseconds)` has the store look at its queues
    then. A message counts `overhead` bytes beside what it says."""

    def __init__(self, MessageBytes memory not None, int64_t overhead, make not None, ring_at not None):
        self.queues = {}
        self.memory, self.overhead = memory, overhead
        self.make, self.ring_at = make, ring_at


cdef class LocalQueues:
    """Those of one namespace. `check(name)` answers [name], and raises for a name that is none; `use(name)` hears of
    each queue; `counts` has the attributes enqueued, delivered, redelivered and settled. Payloads have at most
    `most_bytes`, a caller waits at most `max_wait_s`, and `expired` is what is said of a receipt that is over."""

    def __init__(self, QueueTable table not None, check not None, use not None, counts not None, size_t most_bytes,
                 double visibility_s, double max_wait_s, str expired not None):
        self.table, self.names = table, TopicTable(check)
        self.use, self.counts, self.most_bytes = use, counts, most_bytes
        self.visibility_ms, self.max_wait_ms = <int64_t>(visibility_s * 1000), <int64_t>(max_wait_s * 1000)
        self.expired = expired.encode()
        self.used = set()
        self.clock.milliseconds = -1

    cdef str name_of(self, proto_bytes_t name):
        """None where it is for the servicer."""
        cdef topic_t* found = self.names.find(name.data, name.length)
        return <str>found.targets[0] if found != NULL and found.count else None

    cdef int uses(self, str name) except -1:
        """A call names this queue."""
        if name not in self.used:
            if len(self.used) >= MOST_USED:
                self.used.clear()
            self.used.add(name)
            self.use(name)
        return 0

    cdef QueueEntries known(self, str name):
        found = self.table.queues.get(name)
        return <QueueEntries>found if found is not None else None

    cdef int64_t size_of(self, const publish_request_t* request, bint traced) noexcept:
        """What its message counts in memory, as `size_of` of the store."""
        cdef int64_t size = self.table.overhead + request.payload.length
        cdef int i
        for i in range(request.entries):
            size += request.key[i].length + request.value[i].length
        return size + TRACE_KEY_BYTES + TRACE_TEXT if traced else size

    cdef int store(self, QueueEntries queue, const publish_request_t* request, int priority, int64_t now,
                   const uint8_t* trace, uint8_t* message_id) except -1:
        """Keep a message, for which memory was taken, and write its id."""
        cdef size_t n = queue_body_size(request, now, trace != NULL)
        cdef bytes body = PyBytes_FromStringAndSize(NULL, n)
        next_message_id(message_id, now)
        queue_body_put(<uint8_t*>PyBytes_AS_STRING(body), request, message_id, now,
                       message_clock(&self.clock, now), trace, priority)
        entry = new_entry(body, priority, now, self.size_of(request, trace != NULL))
        queue.join(entry)
        queue.line_up(entry)
        return 0
