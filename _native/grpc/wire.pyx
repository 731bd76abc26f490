"""The small encodings of gRPC over HTTP/2: timeouts, percent-encoded messages, metadata and compressed messages."""
import zlib
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp, memset

from prism_proxy._native.http2.buffers cimport buffer_free, buffer_reserve, buffer_t

cdef extern from "zlib.h" nogil:
    ctypedef struct z_stream:
        uint8_t* next_in
        unsigned int avail_in
        uint8_t* next_out
        unsigned int avail_out
    int inflateInit2(z_stream*, int window_bits)
    int inflate(z_stream*, int flush)
    int inflateEnd(z_stream*)
    int Z_OK, Z_STREAM_END, Z_NO_FLUSH, Z_BUF_ERROR

cdef int64_t NANOS = 1_000_000_000

cdef enum:
    AUTO_WINDOW_BITS = 47   # zlib: 32 + 15, detects gzip and zlib heads
    GZIP_WINDOW_BITS = 31
    FIRST_INFLATE_BYTES = 4096


class MessageTooLarge(ValueError):
    """An inflated message would pass the cap."""


cdef int64_t parse_timeout(const uint8_t* text, size_t n) noexcept nogil:
    """`grpc-timeout` (1 to 8 digits and a unit) in nanoseconds, or -1 when malformed."""
    cdef int64_t value = 0
    cdef size_t i
    if n < 2 or n > 9:
        return -1
    for i in range(n - 1):
        if text[i] < c"0" or text[i] > c"9":
            return -1
        value = value * 10 + (text[i] - c"0")
    if text[n - 1] == c"n":
        return value
    if text[n - 1] == c"u":
        return value * 1_000
    if text[n - 1] == c"m":
        return value * 1_000_000
    if text[n - 1] == c"S":
        return value * NANOS
    if text[n - 1] == c"M":
        return value * 60 * NANOS
    if text[n - 1] == c"H":
        # 99,999,999 h do not fit 64 bits of nanoseconds; a century is as good as for ever.
        return (value if value < 876_000 else 876_000) * 3600 * NANOS
    return -1


def format_timeout(int64_t nanoseconds) -> bytes:
    """The finest `grpc-timeout` that holds the duration in eight digits."""
    cdef int64_t value = nanoseconds if nanoseconds > 0 else 0
    for unit, size in ((b"n", 1), (b"u", 1_000), (b"m", 1_000_000), (b"S", 1_000_000_000), (b"M", 60_000_000_000)):
        if value // <int64_t>size < 100_000_000:
            return b"%d%s" % (value // <int64_t>size, unit)
    return b"%dH" % (value // 3_600_000_000_000)


def parse_grpc_timeout(bytes text not None) -> int | None:
    """Nanoseconds of a `grpc-timeout` value; None when malformed."""
    cdef int64_t value = parse_timeout(text, len(text))
    return None if value < 0 else value


def percent_encode(str message not None) -> bytes:
    """`grpc-message`: UTF-8, with all but printable ASCII and '%' itself escaped."""
    raw = message.encode("utf-8", "replace")
    if raw.isascii() and raw.isalnum():
        return raw
    return b"".join([bytes((c,)) if 0x20 <= c <= 0x7E and c != 0x25 else b"%%%02X" % c for c in raw])


def percent_decode(bytes text not None) -> str:
    """The inverse of `percent_encode`; malformed escapes stay as they are."""
    if b"%" not in text:
        return text.decode("utf-8", "replace")
    head, *parts = text.split(b"%")
    out = [head]
    for part in parts:
        try:
            out.append(bytes((int(part[:2], 16),)) + part[2:] if len(part) >= 2 else b"%" + part)
        except ValueError:
            out.append(b"%" + part)
    return b"".join(out).decode("utf-8", "replace")


cdef object metadata_pair(const uint8_t* name, size_t name_length, const uint8_t* value, size_t value_length):
    """(key, value) as grpcio shows it: `-bin` values are bytes, others text. None for what the transport keeps."""
    if name[0] == c":" or (name_length >= 5 and memcmp(name, b"grpc-", 5) == 0):
        if not (name_length == 17 and memcmp(name, b"grpc-trace-bin", 14) == 0):
            return None
    if name_length == 2 and memcmp(name, b"te", 2) == 0:
        return None
    if name_length == 12 and memcmp(name, b"content-type", 12) == 0:
        return None
    cdef str key = name[:name_length].decode("ascii", "replace")
    if name_length > 4 and memcmp(name + name_length - 4, b"-bin", 4) == 0:
        return key, decode_binary(value[:value_length])
    return key, value[:value_length].decode("latin-1")


cdef bytes decode_binary(bytes text):
    """Base64 with or without padding; more padding than needed is ignored."""
    try:
        return a2b_base64(text + b"==")
    except Base64Error:
        return b""


cdef list encode_metadata(object metadata):
    """[(name, value)] as bytes for the wire. ValueError for keys or values HTTP/2 cannot carry."""
    cdef list out = []
    for key, value in metadata:
        name = key.encode() if isinstance(key, str) else bytes(key)
        if name != name.lower() or not name or name[:1] == b":" or not LEGAL_KEY(name):
            raise ValueError(f"metadata key {key!r} is not a lower-case HTTP/2 header name")
        if name.endswith(b"-bin"):
            raw = value.encode() if isinstance(value, str) else bytes(value)
            out.append((name, b2a_base64(raw, newline=False).rstrip(b"=")))
        else:
            raw = value.encode("utf-8") if isinstance(value, str) else bytes(value)
            if any(c < 0x20 or c > 0x7E for c in raw):
                raise ValueError(f"metadata value of {key!r} must be printable ASCII; use a '-bin' key for bytes")
            out.append((name, raw))
    return out


cdef bint LEGAL_KEY(bytes name):
    return all(c in b"abcdefghijklmnopqrstuvwxyz0123456789-_." for c in name)


cdef int inflate_message(const uint8_t* data, size_t n, size_t cap, buffer_t* out) noexcept nogil:
    """Inflate gzip or zlib bytes into `out`, never past `cap` bytes. One of the INFLATE_ codes."""
    cdef z_stream z
    cdef int rc = Z_OK
    cdef size_t room
    memset(&z, 0, sizeof(z))
    if inflateInit2(&z, AUTO_WINDOW_BITS) != Z_OK:
        return INFLATE_CORRUPT
    z.next_in = <uint8_t*>data
    z.avail_in = <unsigned int>n
    while rc != Z_STREAM_END:
        # One byte over the cap tells 'exactly full' from 'too large'.
        room = out.length if out.length > FIRST_INFLATE_BYTES else FIRST_INFLATE_BYTES
        if room > cap + 1 - out.length:
            room = cap + 1 - out.length
        if room == 0:
            rc = INFLATE_TOO_LARGE
            break
        if buffer_reserve(out, room) != 0:
            rc = INFLATE_TOO_LARGE
            break
        z.next_out = out.data + out.length
        z.avail_out = <unsigned int>room
        rc = inflate(&z, Z_NO_FLUSH)
        out.length += room - z.avail_out
        if rc != Z_OK and rc != Z_STREAM_END:
            rc = INFLATE_CORRUPT
            break
        if rc == Z_OK and z.avail_in == 0 and z.avail_out != 0:
            rc = INFLATE_CORRUPT   # truncated
            break
    inflateEnd(&z)
    if rc == Z_STREAM_END:
        return INFLATE_TOO_LARGE if out.length > cap else INFLATE_OK
    return rc


def inflate_bytes(bytes data not None, size_t cap) -> bytes:
    """Inflate off the loop (the GIL is released). ValueError when corrupt, MessageTooLarge past `cap` bytes."""
    cdef buffer_t out
    cdef const uint8_t* source = data
    cdef size_t n = len(data)
    cdef int rc
    memset(&out, 0, sizeof(out))
    with nogil:
        rc = inflate_message(source, n, cap, &out)
    try:
        if rc == INFLATE_TOO_LARGE:
            raise MessageTooLarge(f"the inflated message is larger than {cap} bytes")
        if rc != INFLATE_OK:
            raise ValueError("the compressed message is corrupt")
        return (<char*>out.data)[:out.length]
    finally:
        buffer_free(&out)


def gzip_bytes(bytes data not None) -> bytes:
    """gzip at a fast level; the GIL is released by zlib."""
    cdef object compressor = zlib.compressobj(1, zlib.DEFLATED, GZIP_WINDOW_BITS)
    return compressor.compress(data) + compressor.flush()


cdef tuple checked_metadata(object metadata):
    """Trailing metadata as grpc.aio takes them: pairs of str, and str or bytes."""
    found = tuple(metadata) if metadata is not None else ()
    for item in found:
        if not (isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
                and isinstance(item[1], (str, bytes))):
            raise TypeError("Invalid trailing metadata type, expected Tuple[Tuple[str, Union[str, bytes]]...]: "
                            f"{metadata}")
    return found
