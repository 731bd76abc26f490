"""Replies of Redis as Python objects, its errors, and commands that are read back. Knows no connection."""
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp, memset

from prism_proxy._native.redis.resp cimport (
    ANSWERED, EXPECT_ANY, EXPECT_INTEGER, EXPECT_OK, EXPECT_VALUE, LOST_UNSENT, RESP_REPLY, argument_t, resp_element,
    resp_reply_t,
)

cdef enum:
    MAX_DEPTH = 32          # of a reply that becomes Python objects


class RespError(Exception):
    """Redis answered an error. `kind` is its first word, such as WRONGTYPE; the text may quote what the caller sent.

    VALUETOOLARGE is ours and stands for a value that was left out; the size and the bound follow. REPLYTOOLARGE stands
    for one in a reply that is too large as a whole.
    """

    def __init__(self, str text):
        super().__init__(text)
        self.kind = text.partition(" ")[0]


class ConnectionLost(Exception):
    """The connection is gone. With `sent` False no byte of the command left this process."""

    def __init__(self, str reason, bint sent):
        super().__init__(reason)
        self.sent = sent


class PipelineFull(Exception):
    """So many commands, or bytes of them, wait for this connection that no more are taken."""


cdef int expected_of(const argument_t* arguments, int count) noexcept:
    """What must be the reply to a command of `execute`; of those not named here it may be anything."""
    cdef const char* name
    cdef size_t n
    cdef int expects
    if count == 0:
        return EXPECT_ANY
    for name, n, expects in ((b"GET", 3, EXPECT_VALUE), (b"SET", 3, EXPECT_OK), (b"DEL", 3, EXPECT_INTEGER),
                             (b"EXISTS", 6, EXPECT_INTEGER), (b"PEXPIRE", 7, EXPECT_INTEGER),
                             (b"PTTL", 4, EXPECT_INTEGER), (b"PERSIST", 7, EXPECT_INTEGER)):
        if arguments.length == n and memcmp(arguments.data, name, n) == 0:
            return expects
    return EXPECT_ANY


cdef bint stale_error(const resp_reply_t* reply) noexcept:
    """Errors of a server that has become a replica, or is not up yet: another connection may find a better one."""
    cdef const char* kind
    cdef size_t n
    for kind, n in ((b"READONLY", 8), (b"LOADING", 7), (b"MASTERDOWN", 10)):
        if reply.length > n and memcmp(reply.data, kind, n) == 0 and reply.data[n] == c" ":
            return True
    return False


cdef bint too_large(const resp_reply_t* reply) noexcept:
    return reply.type == c"-" and reply.length > 14 and memcmp(reply.data, b"VALUETOOLARGE ", 14) == 0


cdef int read_command(const uint8_t* command, size_t n, int index, const uint8_t** out, size_t* length) noexcept:
    """Argument `index` of an encoded command: 0, or -1 when it has no such argument."""
    cdef resp_reply_t element
    cdef size_t at = 0, end = 0, need
    cdef int64_t children
    memset(&element, 0, sizeof(element))
    for _ in range(index + 2):
        if resp_element(command, n, at, n, &element, &end, &children, &need) != RESP_REPLY:
            return -1
        at = end
    out[0] = element.data
    length[0] = element.length
    return 0


cdef void future_done(void* owner, int outcome, const resp_reply_t* reply, const uint8_t* command,
                      size_t n) noexcept:
    future = <object>owner
    if future.done():
        return
    try:
        if outcome == ANSWERED:
            value = to_object(reply)
            if isinstance(value, RespError):
                future.set_exception(value)
            else:
                future.set_result(value)
        else:
            future.set_exception(ConnectionLost("the connection to Redis was lost", outcome != LOST_UNSENT))
    except Exception as error:
        future.set_exception(error)


cdef object to_object(const resp_reply_t* reply):
    cdef size_t at = 0
    if reply.type in b"*%~>":
        return read_object(reply.data, reply.length, &at, 0)
    return scalar(reply)


cdef object scalar(const resp_reply_t* reply):
    if reply.type == c"_":
        return None
    if reply.type == c":":
        return reply.integer
    if reply.type == c"#":
        return reply.integer != 0
    text = (<char*>reply.data)[:reply.length]
    if reply.type == c"-":
        return RespError(text.decode("utf-8", "replace"))
    if reply.type == c",":
        return float(text)
    return text


cdef object read_object(const uint8_t* data, size_t n, size_t* at, int depth):
    """The element at `*at` of a whole reply, with all it holds."""
    cdef resp_reply_t element
    cdef size_t end = 0, need
    cdef int64_t children
    cdef list out
    memset(&element, 0, sizeof(element))
    if depth > MAX_DEPTH:
        raise ValueError(f"a reply is nested deeper than {MAX_DEPTH}")
    if resp_element(data, n, at[0], n, &element, &end, &children, &need) != RESP_REPLY:
        raise ValueError("a reply changed while it was read")
    at[0] = end
    if element.type not in b"*%~>":
        return scalar(&element)
    out = []
    for _ in range(children):
        out.append(read_object(data, n, at, depth + 1))
    return out
