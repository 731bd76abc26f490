"""W3C trace context: what is read, what is refused, what goes on to the next hop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_proxy.telemetry.trace import TraceContext, from_metadata, log_fields, parse

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_parent_is_read() -> None:
    assert parse(PARENT) == TraceContext(TRACE, SPAN, sampled=True)
    assert parse(f"00-{TRACE}-{SPAN}-00") == TraceContext(TRACE, SPAN, sampled=False)


@pytest.mark.parametrize("text", [
    None, "", "garbage", PARENT.upper(), PARENT[:-1], PARENT + "0", PARENT + "-", PARENT + "-extra", PARENT + "\n",
    f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"0-{TRACE}-{SPAN}-01",
    f"00-{TRACE[:-1]}-{SPAN}-01", f"00-{TRACE}-{SPAN}g-01", f"00_{TRACE}_{SPAN}_01", f"cc-{TRACE}-{SPAN}-01.more",
])
def test_a_malformed_parent_is_refused(text: str | None) -> None:
    assert parse(text) is None


def test_later_versions_are_read_as_far_as_they_agree() -> None:
    assert parse(f"cc-{TRACE}-{SPAN}-01") == TraceContext(TRACE, SPAN, sampled=True)
    assert parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-holds") == TraceContext(TRACE, SPAN, sampled=True)


@pytest.mark.parametrize(("text", "kept"), [
    ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
    (" a=1 ,\t b=2,,", "a=1,b=2"),
    ("tenant1@vendor=x y", "tenant1@vendor=x y"),
    ("0tenant@v=1", "0tenant@v=1"),
    ("a=1,a=2", ""), ("A=1", ""), ("a", ""), ("a=", ""), ("=1", ""), ("a=b=c", ""), ("0a=1", ""), ("a=\x7f", ""),
    ("a=1,broken", ""), ("a=ü", ""), (None, ""),
    (",".join(f"k{i}=v" for i in range(32)), ",".join(f"k{i}=v" for i in range(32))),
    (",".join(f"k{i}=v" for i in range(33)), ""),
    (",".join(f"k{i}={'v' * 100}" for i in range(6)), ""),
])
def test_tracestate_is_passed_on_or_dropped_whole(text: str | None, kept: str) -> None:
    context = parse(PARENT, text)
    assert context is not None, "a bad tracestate must not cost the trace"
    assert context.state == kept


def test_log_lines_name_our_span_and_without_one_the_callers_trace_alone() -> None:
    metadata = [("traceparent", PARENT)]
    assert log_fields((int(TRACE, 16), 0x1234, int(SPAN, 16)), metadata) == {
        "trace_id": TRACE, "span_id": "0000000000001234"}
    assert log_fields(None, metadata) == {"trace_id": TRACE}
    assert log_fields(None, [("traceparent", "garbage")]) == {}


def test_metadata_is_searched_and_states_are_joined() -> None:
    metadata = [("x", "y"), ("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"), ("raw-bin", b"\x00")]
    assert from_metadata(metadata) == TraceContext(TRACE, SPAN, sampled=True, state="a=1,b=2")


@pytest.mark.parametrize("metadata", [
    [], [("traceparent", PARENT)] * 2, [("traceparent", "x")], [("tracestate", "a=1")],
])
def test_metadata_without_one_valid_parent_continues_nothing(metadata: list[tuple[str, str]]) -> None:
    assert from_metadata(metadata) is None


@given(st.text(max_size=80), st.text(max_size=600))
def test_no_input_raises_and_what_is_read_is_valid(parent: str, state: str) -> None:
    for context in (parse(parent, state), parse(PARENT, state)):
        if context is not None:
            again = f"00-{context.trace_id}-{context.span_id}-{int(context.sampled):02}"
            assert parse(again, context.state) == context
