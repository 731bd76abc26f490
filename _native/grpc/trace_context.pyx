"""Reads and writes `traceparent`. Reading is strict: whatever is malformed continues no trace, and fails no call."""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    TRACE_AT = 3
    SPAN_AT = 36
    FLAGS_AT = 53
    NO_DIGIT = 16


cdef inline int digit(uint8_t c) noexcept:
    """The value of a lower-case hex digit, or NO_DIGIT."""
    if c"0" <= c <= c"9":
        return c - c"0"
    return c - c"a" + 10 if c"a" <= c <= c"f" else NO_DIGIT


cdef bint read_hex(const uint8_t* text, int n, uint64_t* out) noexcept:
    cdef uint64_t value = 0
    cdef int i, found
    for i in range(n):
        found = digit(text[i])
        if found == NO_DIGIT:
            return False
        value = value << 4 | <uint64_t>found
    out[0] = value
    return True


cdef void write_hex(char* out, int n, uint64_t value) noexcept:
    cdef int i
    for i in range(n):
        out[i] = b"0123456789abcdef"[value >> 4 * (n - 1 - i) & 15]


cdef bint read_traceparent(const uint8_t* text, size_t n, trace_t* trace) noexcept:
    """Take the caller's context, but for `span`. False when it is malformed: a new trace begins then."""
    cdef uint64_t version, flags
    while n and (text[0] == c" " or text[0] == c"\t"):
        text += 1
        n -= 1
    while n and (text[n - 1] == c" " or text[n - 1] == c"\t"):
        n -= 1
    if n < TRACEPARENT_BYTES or text[TRACE_AT - 1] != c"-" or text[SPAN_AT - 1] != c"-" or text[FLAGS_AT - 1] != c"-":
        return False
    if not read_hex(text, 2, &version) or version == 0xFF:
        return False
    if n > TRACEPARENT_BYTES and (version == 0 or text[TRACEPARENT_BYTES] != c"-"):
        return False    # later versions may say more, after another dash
    if not (read_hex(text + TRACE_AT, 16, &trace.high) and read_hex(text + TRACE_AT + 16, 16, &trace.low)
            and read_hex(text + SPAN_AT, 16, &trace.parent) and read_hex(text + FLAGS_AT, 2, &flags)):
        return False
    trace.flags = <int>flags & (SAMPLED | RANDOM_ID)
    return trace.parent != 0 and (trace.high | trace.low) != 0


cdef void write_trace_id(const trace_t* trace, char* out) noexcept:
    """Its 32 digits, without a zero at the end."""
    write_hex(out, 16, trace.high)
    write_hex(out + 16, 16, trace.low)


cdef void write_traceparent(const trace_t* trace, char* out) noexcept:
    """The context of what our span causes, in version 00: TRACEPARENT_BYTES, without a zero at the end."""
    memcpy(out, b"00-", 3)
    write_trace_id(trace, out + TRACE_AT)
    out[SPAN_AT - 1] = c"-"
    write_hex(out + SPAN_AT, 16, trace.span)
    out[FLAGS_AT - 1] = c"-"
    write_hex(out + FLAGS_AT, 2, <uint64_t>trace.flags)


def continued(text: bytes, span: int) -> bytes | None:
    """The traceparent that goes on for one that came, under our span; None when it continues nothing."""
    cdef trace_t trace
    cdef char out[TRACEPARENT_BYTES]
    if not read_traceparent(text, len(text), &trace):
        return None
    trace.span = span
    write_traceparent(&trace, out)
    return out[:TRACEPARENT_BYTES]
