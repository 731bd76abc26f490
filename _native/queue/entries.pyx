"""A queue's messages by their state: ready in lines by priority, scheduled, leased.

    add --> scheduled --> ready --> taken --> leased --> gone
                            ^                   |
                            +-------------------+

Each entry knows its place in its line or heap, so that it leaves at once, and with it all that it holds. It belongs to
`entries` alone; lines and heaps borrow it. The queue knows no bound, no other queue and no clock.
"""
import secrets

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from prism_proxy._native.grpc.protowire cimport (
    PROTO_VARINT, proto_bytes_t, proto_length_delimited, proto_reader_t, proto_tag, proto_varint,
)

cdef enum:
    EPOCH_BYTES = 8
    MOST_DIGITS = 19

cdef uint64_t last_sequence = 0
cdef bytes EPOCH = secrets.token_hex(EPOCH_BYTES // 2).encode()     # so that receipts of an earlier process are none
cdef frozenset ADDED = frozenset(("prism-published-at", "prism-encoding"))  # for receivers; no store keeps them


@cython.freelist(256)
@cython.no_gc
cdef class Entry:
    """A message of a queue. `message` is made of the body when somebody asks for it."""

    def __init__(self, message not None, int priority, int64_t enqueued_ms, int64_t size):
        self.kept = message
        self.expires_ms = message.expires_ms
        begin(self, priority, enqueued_ms, size)

    @property
    def message(self):
        if self.kept is None:
            self.kept = restored(self.body)
        return self.kept

    @property
    def receipt(self):
        cdef uint8_t text[MAX_RECEIPT]
        if self.state != LEASED:
            return ""
        return (<const char*>text)[:put_receipt(self, text)].decode("ascii")


cdef void begin(Entry entry, int priority, int64_t enqueued_ms, int64_t size) noexcept:
    global last_sequence
    last_sequence += 1
    entry.sequence = last_sequence
    entry.priority, entry.enqueued_ms, entry.size = priority, enqueued_ms, size
    entry.reason = ""
    entry.place = entry.expiry = -1


cdef Entry new_entry(bytes body, int priority, int64_t enqueued_ms, int64_t size):
    cdef Entry entry = Entry.__new__(Entry)
    entry.body = body
    begin(entry, priority, enqueued_ms, size)
    return entry


cdef object restored(bytes body):
    """The StoredMessage that the servicer would have made of an entry which native code enqueued."""
    from prism_proxy.models.messages import StoredMessage

    cdef proto_reader_t reader
    cdef proto_bytes_t found
    cdef uint32_t field
    cdef int kind
    cdef uint64_t number = 0, milliseconds = 0
    cdef str message_id = ""
    cdef bytes payload = b""
    cdef dict headers = {}
    reader.at = <const uint8_t*>PyBytes_AS_STRING(body)
    reader.end = reader.at + PyBytes_GET_SIZE(body)
    while proto_tag(&reader, &field, &kind) == 1:
        if kind == PROTO_VARINT:
            if proto_varint(&reader, 10, &number) == 0 and field == 6:
                milliseconds = number
        elif proto_length_delimited(&reader, &found) == 0:
            if field == 1:
                message_id = text_of(found)
            elif field == 2:
                payload = (<const char*>found.data)[:found.length]
            else:
                add_header(headers, found)
    return StoredMessage(message_id, payload, headers, milliseconds)


cdef int add_header(dict headers, proto_bytes_t entry) except -1:
    cdef proto_reader_t reader
    cdef proto_bytes_t found
    cdef uint32_t field
    cdef int kind
    cdef str key = "", value = ""
    reader.at, reader.end = entry.data, entry.data + entry.length
    while proto_tag(&reader, &field, &kind) == 1 and proto_length_delimited(&reader, &found) == 0:
        if field == 1:
            key = text_of(found)
        else:
            value = text_of(found)
    if key not in ADDED:
        headers[key] = value
    return 0


cdef str text_of(proto_bytes_t found):
    return PyUnicode_DecodeUTF8(<const char*>found.data, found.length, NULL)


cdef bint is_expired(Entry entry, int64_t now_ms) noexcept:
    return 0 < entry.expires_ms <= now_ms


# --- receipts: m.EPOCH.SEQUENCE.RECEIVES ----------------------------------------------------------------------------

cdef size_t put_receipt(Entry entry, uint8_t* out) noexcept:
    """The receipt of a leased entry, at most MAX_RECEIPT bytes."""
    cdef uint8_t* at = out
    memcpy(at, b"m.", 2)
    memcpy(at + 2, PyBytes_AS_STRING(EPOCH), EPOCH_BYTES)
    at[2 + EPOCH_BYTES] = c"."
    at = put_number(at + 3 + EPOCH_BYTES, entry.sequence)
    at[0] = c"."
    return put_number(at + 1, <uint64_t>entry.receives) - out


cdef uint8_t* put_number(uint8_t* out, uint64_t number) noexcept:
    cdef uint8_t digits[20]
    cdef int n = 0
    while number or n == 0:
        digits[n] = c"0" + number % 10
        number //= 10
        n += 1
    while n:
        n -= 1
        out[0] = digits[n]
        out += 1
    return out


cdef const uint8_t* read_number(const uint8_t* at, const uint8_t* end, uint64_t* number) noexcept:
    """Behind a number as `put_number` writes it; NULL when it is none."""
    cdef const uint8_t* first = at
    number[0] = 0
    while at < end and c"0" <= at[0] <= c"9" and at - first < MOST_DIGITS:
        number[0] = number[0] * 10 + (at[0] - c"0")
        at += 1
    if at == first or (first[0] == c"0" and at - first > 1):
        return NULL
    return at


# --- entries by time ------------------------------------------------------------------------------------------------

cdef class DueHeap:
    """Entries by when their lease or schedule is over, or by when they expire (`by_expiry`); ties by arrival."""

    def __cinit__(self, bint by_expiry=False):
        self.by_expiry = by_expiry

    def __dealloc__(self):
        free(self.slots)

    cdef int64_t due(self, void* entry) noexcept:
        return (<Entry>entry).expires_ms if self.by_expiry else (<Entry>entry).due_ms

    cdef bint sooner(self, void* one, void* other) noexcept:
        cdef int64_t first = self.due(one), second = self.due(other)
        return first < second or (first == second and (<Entry>one).sequence < (<Entry>other).sequence)

    cdef void put(self, Py_ssize_t place, void* entry) noexcept:
        self.slots[place] = entry
        if self.by_expiry:
            (<Entry>entry).expiry = place
        else:
            (<Entry>entry).place = place

    cdef void settle(self, Py_ssize_t place, void* entry) noexcept:
        """Put an entry at a free place, or where it belongs above or below it."""
        cdef Py_ssize_t other
        while place > 0 and self.sooner(entry, self.slots[(place - 1) // 2]):
            self.put(place, self.slots[(place - 1) // 2])
            place = (place - 1) // 2
        while True:
            other = 2 * place + 1
            if other >= self.size:
                break
            if other + 1 < self.size and self.sooner(self.slots[other + 1], self.slots[other]):
                other += 1
            if not self.sooner(self.slots[other], entry):
                break
            self.put(place, self.slots[other])
            place = other
        self.put(place, entry)

    cdef int push(self, Entry entry) except -1:
        cdef Py_ssize_t capacity = self.capacity * 2 if self.capacity else 64
        cdef void** slots
        if self.size == self.capacity:
            slots = <void**>realloc(self.slots, capacity * sizeof(void*))
            if slots == NULL:
                raise MemoryError
            self.slots, self.capacity = slots, capacity
        self.size += 1
        self.slots[self.size - 1] = <void*>entry
        self.settle(self.size - 1, <void*>entry)
        return 0

    cdef void remove(self, Entry entry) noexcept:
        cdef Py_ssize_t place = entry.expiry if self.by_expiry else entry.place
        cdef void* moved
        self.size -= 1
        moved = self.slots[self.size]
        if moved != <void*>entry:
            self.settle(place, moved)
        if self.by_expiry:
            entry.expiry = -1
        else:
            entry.place = -1

    cdef int64_t first_due(self) noexcept:
        """0 when there is none."""
        return self.due(self.slots[0]) if self.size else 0


# --- the queue ------------------------------------------------------------------------------------------------------

cdef class QueueEntries:
    """Times are epoch milliseconds; a due time of 0 is at once."""

    def __cinit__(self):
        self.entries = {}
        self.leases, self.schedule, self.expiries = DueHeap(), DueHeap(), DueHeap(by_expiry=True)
        memset(self.first, 0, sizeof(self.first))
        memset(self.last, 0, sizeof(self.last))

    @property
    def lease_count(self):
        return self.leases.size

    def add(self, Entry entry not None, int64_t due_ms):
        """A new arrival. Returns as `put_back`."""
        self.join(entry)
        return self.put_back(entry, due_ms)

    def put_back(self, Entry entry not None, int64_t due_ms):
        """Ready, or scheduled. Returns when the queue must be looked at next for its sake; 0: never."""
        if due_ms:
            entry.due_ms = due_ms
            self.schedule.push(entry)
            entry.state = SCHEDULED
        else:
            self.line_up(entry)
        if entry.expires_ms and entry.expiry < 0:   # it is new, or expired while it was leased
            self.expiries.push(entry)
        return min(due_ms, entry.expires_ms) if due_ms and entry.expires_ms else due_ms or entry.expires_ms

    def forget(self, Entry entry not None):
        """It is gone. Returns its size, 0 when it was gone before."""
        return self.drop(entry)

    def clear(self):
        """Nothing is held any more; how many bytes it was."""
        cdef int64_t size = 0
        for entry in list(self.entries.values()):
            size += self.drop(entry)
        return size

    def ready(self, int64_t now_ms, Py_ssize_t most=-1):
        """Up to `most` in the order in which they are delivered."""
        cdef list found = []
        cdef Entry entry
        self.ripen(now_ms)
        entry = self.head()
        while entry is not None and len(found) != most:
            if not is_expired(entry, now_ms):
                found.append(entry)
            entry = self.following(entry)
        return found

    def pop(self, Py_ssize_t count, int64_t now_ms, MessageBytes memory not None):
        """Take up to `count` out of the line; they are the caller's to lease or forget. Expired ones go."""
        cdef list taken = []
        cdef Entry entry
        self.ripen(now_ms)
        while len(taken) < count:
            entry = self.head()
            if entry is None:
                break
            if is_expired(entry, now_ms):
                memory.change(-self.drop(entry))
                continue
            self.unlink(entry)
            taken.append(entry)
        return taken

    def make_ready(self, int64_t now_ms):
        """What was scheduled for a time that has come."""
        self.ripen(now_ms)

    def drop_expired(self, int64_t now_ms, int most=1000):
        """Forget up to `most` messages that expired; how many bytes. Leased ones are left to their consumers."""
        cdef int64_t size = 0
        cdef Entry entry
        while most and self.expiries.size and self.expiries.first_due() <= now_ms:
            most -= 1
            entry = <Entry>self.expiries.slots[0]
            if entry.state == LEASED:
                self.expiries.remove(entry)
            else:
                size += self.drop(entry)
        return size

    def lease(self, Entry entry not None, int64_t due_ms):
        self.lend(entry, due_ms)

    def extend(self, str receipt not None, int64_t due_ms):
        """Whether the lease goes on."""
        cdef Entry entry = self.found(receipt)
        if entry is None:
            return False
        self.leases.remove(entry)
        entry.due_ms = due_ms
        self.leases.push(entry)
        return True

    def release(self, str receipt not None):
        """The entry, whose lease is over; None when there is no such lease."""
        cdef Entry entry = self.found(receipt)
        if entry is not None:
            self.unlink(entry)
        return entry

    def overdue(self, int64_t now_ms):
        """Leases whose time is over; they are the caller's to put back or forget."""
        cdef list found = []
        cdef Entry entry
        while self.leases.size and self.leases.first_due() <= now_ms:
            entry = <Entry>self.leases.slots[0]
            self.unlink(entry)
            found.append(entry)
        return found

    def next_due(self):
        """The earliest time at which something changes by itself; 0: never."""
        cdef int64_t due = 0, other
        for heap in (self.leases, self.schedule, self.expiries):
            other = (<DueHeap>heap).first_due()
            if other and (due == 0 or other < due):
                due = other
        return due

    def scheduled(self, int64_t now_ms):
        """How many, and when the next one is due."""
        self.ripen(now_ms)
        return self.schedule.size, self.schedule.first_due()

    # --- for native handlers ----------------------------------------------------------------------------------------

    cdef int join(self, Entry entry) except -1:
        self.entries[entry.sequence] = entry
        return 0

    cdef int line_up(self, Entry entry) except -1:
        """At the end of the line of its priority."""
        cdef void* last = self.last[entry.priority]
        entry.before, entry.behind = last, NULL
        if last == NULL:
            self.first[entry.priority] = <void*>entry
        else:
            (<Entry>last).behind = <void*>entry
        self.last[entry.priority] = <void*>entry
        entry.state = READY
        self.ready_count += 1
        return 0

    cdef void unlink(self, Entry entry) noexcept:
        """Out of its line or heap; it is TAKEN."""
        if entry.state == READY:
            if entry.before == NULL:
                self.first[entry.priority] = entry.behind
            else:
                (<Entry>entry.before).behind = entry.behind
            if entry.behind == NULL:
                self.last[entry.priority] = entry.before
            else:
                (<Entry>entry.behind).before = entry.before
            entry.before = entry.behind = NULL
            self.ready_count -= 1
        elif entry.state == SCHEDULED:
            self.schedule.remove(entry)
        elif entry.state == LEASED:
            self.leases.remove(entry)
        entry.state = TAKEN

    cdef int64_t drop(self, Entry entry):
        """As `forget`."""
        if entry.state == GONE:
            return 0
        self.unlink(entry)
        if entry.expiry >= 0:
            self.expiries.remove(entry)
        entry.state = GONE
        self.entries.pop(entry.sequence, None)
        return entry.size

    cdef Entry head(self):
        """The ready entry that comes first."""
        cdef int priority = PRIORITIES - 1
        while priority >= 0:
            if self.first[priority] != NULL:
                return <Entry>self.first[priority]
            priority -= 1
        return None

    cdef Entry following(self, Entry entry):
        cdef int priority = entry.priority - 1
        if entry.behind != NULL:
            return <Entry>entry.behind
        while priority >= 0:
            if self.first[priority] != NULL:
                return <Entry>self.first[priority]
            priority -= 1
        return None

    cdef int lend(self, Entry entry, int64_t due_ms) except -1:
        """A taken entry is leased."""
        entry.due_ms = due_ms
        self.leases.push(entry)
        entry.receives += 1
        entry.state = LEASED
        return 0

    cdef Entry leased(self, const uint8_t* receipt, size_t n):
        """The entry of a receipt; None when its lease is over, or there never was one."""
        cdef const uint8_t* end = receipt + n
        cdef const uint8_t* at = receipt + 3 + EPOCH_BYTES
        cdef uint64_t sequence, receives
        if n < 6 + EPOCH_BYTES or memcmp(receipt, b"m.", 2) or memcmp(
                receipt + 2, PyBytes_AS_STRING(EPOCH), EPOCH_BYTES) or receipt[2 + EPOCH_BYTES] != c".":
            return None
        at = read_number(at, end, &sequence)
        if at == NULL or at == end or at[0] != c".":
            return None
        at = read_number(at + 1, end, &receives)
        if at != end:
            return None
        found = self.entries.get(sequence)
        if found is None or (<Entry>found).state != LEASED or <uint64_t>(<Entry>found).receives != receives:
            return None
        return <Entry>found

    cdef int ripen(self, int64_t now_ms) except -1:
        """As `make_ready`."""
        cdef Entry entry
        while self.schedule.size and self.schedule.first_due() <= now_ms:
            entry = <Entry>self.schedule.slots[0]
            self.unlink(entry)
            self.line_up(entry)
        return 0

    def found(self, str receipt not None):
        """As `leased`."""
        cdef bytes text = receipt.encode("utf-8", "replace")
        return self.leased(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
