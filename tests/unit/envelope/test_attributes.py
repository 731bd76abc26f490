"""What a caller may say of a message, and what not."""

from __future__ import annotations

import pytest

from prism_proxy.envelope.attributes import PLAIN, Attributes, parse
from prism_proxy.envelope.parts import observability_of
from prism_proxy.errors import PrismError, StatusCode


def test_the_settable_fields_and_the_callers_own() -> None:
    found = parse({"prism-content-type": "text/plain", "prism-priority": "3", "prism-ttl-seconds": "60",
                   "prism-contains-pii": "true", "prism-data-classification": "internal", "colour": "blue",
                   "prism-deduplication-id": "order-1", "prism-reply-to": "a.b"})
    assert found == Attributes(content_type="text/plain", priority=3, ttl_seconds=60, contains_pii=True,
                               data_classification="internal", deduplication_id="order-1", reply_to="a.b",
                               user={"colour": "blue"})
    assert parse({}) is PLAIN
    assert parse(found.metadata()) == found


@pytest.mark.parametrize("metadata", [
    {"prism-published-at": "now"}, {"prism-anything": ""}, {"X-Prism-Schema-URL": "u"}, {"Nats-Msg-Id": "1"},
    {"nats-expected-stream": "s"}, {"": "v"}, {"key": "a\r\nNats-Msg-Id: 1"}, {"ke\ny": "v"}, {"key": "\x00"},
    {"key": "\x85"}, {"prism-priority": "11"}, {"prism-priority": "-1"}, {"prism-priority": "high"},
    {"prism-ttl-seconds": "²"}, {"prism-ttl-seconds": "9" * 30}, {"prism-contains-pii": "yes"},
    {"prism-data-classification": "secret"}, {"prism-deduplication-id": "x" * 129}, {"key": "v" * 8200},
    {f"key{n}": "" for n in range(65)}])
def test_what_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(PrismError) as caught:
        parse(metadata)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    assert caught.value.field_name == "metadata"


def test_text_beyond_ascii_is_no_control_character() -> None:
    assert parse({"Größe": "10 ж — ✓ \u2028"}).user == {"Größe": "10 ж — ✓ \u2028"}


def test_a_trace_is_taken_from_traceparent() -> None:
    found = observability_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert found is not None
    assert (found.trace_id, found.span_id, found.trace_flags) == (
        "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)
    for bad in ("", "00-abc", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "ff" + "-" + "1" * 32 + "-" + "1" * 16 + "-01",
                "00-" + "G" * 32 + "-" + "1" * 16 + "-01"):
        assert observability_of(bad) is None
