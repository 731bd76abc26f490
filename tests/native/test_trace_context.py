"""The native reading and writing of `traceparent`, against the regular expression that reads it in Python."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from prism_proxy._native.grpc.trace_context import continued
from prism_proxy.telemetry.trace import parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
OURS = 0x1234

hexes = st.text("0123456789abcdef", min_size=2, max_size=2)
rests = st.sampled_from(["", "-", "-more", ".more", " ", "\t"])
valid = st.builds(lambda version, flags, rest: f"{version}-{TRACE}-{SPAN}-{flags}{rest}", hexes, hexes, rests)
near = st.builds(lambda text, at, put: text[:at] + put + text[at + 1:], valid, st.integers(0, 60),
                 st.sampled_from(list("0-fgA \t\x00")))


@given(st.one_of(st.text(st.characters(max_codepoint=255), max_size=80), near, valid))
@example(PARENT)
@example(f"\t {PARENT} ")
@example(f"ff-{TRACE}-{SPAN}-01")
@example(f"00-{'0' * 32}-{SPAN}-01")
@example(f"00-{TRACE}-{'0' * 16}-01")
@example(f"{PARENT}-")
@example(f"cc-{TRACE}-{SPAN}-01-more")
@example(f"cc-{TRACE}-{SPAN}-01.more")
def test_both_readings_agree(text: str) -> None:
    found, expected = continued(text.encode("latin-1"), OURS), parse(text)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        version, trace_id, span, flags = found.decode().split("-")
        assert (version, trace_id, span) == ("00", expected.trace_id, f"{OURS:016x}")
        assert bool(int(flags, 16) & 1) == expected.sampled


def test_flags_that_are_not_defined_do_not_go_on() -> None:
    """Only `sampled` and `random trace id`; others must be zero."""
    for flags in range(256):
        found = continued(f"00-{TRACE}-{SPAN}-{flags:02x}".encode(), OURS)
        assert found is not None
        assert found[-2:].decode() == f"{flags & 3:02x}"


def test_what_is_written_is_read_again() -> None:
    once = continued(PARENT.encode(), 2**64 - 1)
    assert once is not None
    assert once == f"00-{TRACE}-{'f' * 16}-01".encode()
    assert continued(once, OURS) == f"00-{TRACE}-{OURS:016x}-01".encode()
