"""The small encodings of gRPC, against the standard library."""

from __future__ import annotations

import gzip
import zlib
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_proxy._native.grpc.wire import (
    MessageTooLarge,
    format_timeout,
    gzip_bytes,
    inflate_bytes,
    parse_grpc_timeout,
    percent_decode,
    percent_encode,
)
from prism_proxy._native.runtime.crc32 import partition_of

UNITS = {"n": 1, "u": 10**3, "m": 10**6, "S": 10**9, "M": 60 * 10**9, "H": 3600 * 10**9}
CENTURY_HOURS = 876_000
# name -> partition, the published test vectors
PARTITIONS = {
    "orders": 238, "default": 223, "analytics": 136, "user-profiles": 99, "order-processing": 76, "test-ns": 103,
    "tenant-a": 11, "tenant-b": 177, "$admin-logs": 220, "prod-orders": 159, "ns-a": 4, "ns-b": 190, "ns-c": 40, "": 0,
}


@given(st.integers(0, 99_999_999), st.sampled_from(sorted(UNITS)))
def test_every_timeout_is_read(value: int, unit: str) -> None:
    expected = min(value, CENTURY_HOURS) * UNITS[unit] if unit == "H" else value * UNITS[unit]
    assert parse_grpc_timeout(f"{value}{unit}".encode()) == expected


@pytest.mark.parametrize("text", ["", "1", "S", "-1S", "1s", "123456789S", "1 S", "1.5S", "+1S", "S1", "１S"])
def test_a_malformed_timeout_is_refused(text: str) -> None:
    assert parse_grpc_timeout(text.encode()) is None


@given(st.integers(0, CENTURY_HOURS * UNITS["H"]))
def test_a_written_timeout_is_never_longer_and_close(nanoseconds: int) -> None:
    text = format_timeout(nanoseconds)
    assert len(text) <= 9
    read = parse_grpc_timeout(text)
    assert read is not None
    assert read <= nanoseconds
    assert nanoseconds - read <= nanoseconds // 10**5 + 1


@given(st.text())
def test_messages_survive_percent_encoding(message: str) -> None:
    raw = message.encode("utf-8", "replace")
    encoded = percent_encode(message)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote_to_bytes(encoded) == raw
    assert percent_decode(encoded) == raw.decode()


@pytest.mark.parametrize(("text", "message"), [(b"a%zz", "a%zz"), (b"%", "%"), (b"%4", "%4"), (b"%41%", "A%"),
                                               (b"%ff", "�")])
def test_malformed_escapes_stay(text: bytes, message: str) -> None:
    assert percent_decode(text) == message


@given(st.binary(max_size=20_000))
def test_inflating_reads_what_gzip_and_zlib_write(data: bytes) -> None:
    assert inflate_bytes(gzip.compress(data), len(data)) == data
    assert inflate_bytes(zlib.compress(data), len(data)) == data
    assert gzip.decompress(gzip_bytes(data)) == data


@given(st.integers(0, 100_000), st.integers(0, 100_000))
def test_inflating_stops_exactly_at_the_cap(size: int, cap: int) -> None:
    packed = gzip.compress(bytes(size))
    if size <= cap:
        assert len(inflate_bytes(packed, cap)) == size
    else:
        with pytest.raises(MessageTooLarge):
            inflate_bytes(packed, cap)


@given(st.binary(max_size=200))
def test_inflating_rubbish_ends_in_an_error(data: bytes) -> None:
    try:
        expected: bytes | None = zlib.decompress(data, wbits=47)
    except zlib.error:
        expected = None
    if expected is None:
        with pytest.raises(ValueError):  # noqa: PT011 - any of its kind
            inflate_bytes(data, 1 << 20)
    else:
        assert inflate_bytes(data, 1 << 20) == expected


def test_truncated_input_is_corrupt() -> None:
    packed = gzip.compress(bytes(range(256)) * 100)
    for length in range(len(packed)):
        with pytest.raises(ValueError, match="corrupt"):
            inflate_bytes(packed[:length], 1 << 20)


def test_partitions_are_the_published_ones() -> None:
    assert {name: partition_of(name) for name in PARTITIONS} == PARTITIONS


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_partition_is_the_crc32_of_the_name(name: str) -> None:
    assert partition_of(name) == zlib.crc32(name.encode()) % 256
