"""The limits: their values, their validation, their reference page."""

from dataclasses import fields
from pathlib import Path

import pytest

from prism_proxy._native.http2.limits import NAMES, NativeLimits
from prism_proxy.server.limits import Limits
from prism_proxy.server.limits_doc import COUNTED_AS, PAGE, page
from prism_runtime.settings import setting_of

ROOT = Path(__file__).parents[2]
WHOLE = [item for item in fields(Limits) if "int" in str(item.type)]


def test_defaults_are_the_designed_ones() -> None:
    limits = Limits()
    designed = {
        "concurrent_streams": 256, "reset_burst": 1000, "reset_rate_per_s": 33, "reset_young_age_ms": 1000,
        "header_list_bytes": 16384, "header_fields": 128, "continuation_frames": 8, "settings_entries": 32,
        "hpack_table_bytes": 4096, "control_queue_pause": 100, "control_queue_close": 1000, "empty_frames": 10,
        "priority_base": 100, "window_update_base": 100, "window_update_per_stream": 2, "window_update_per_data": 10,
        "zero_window_timeout_s": 30, "handshake_timeout_s": 10,
        "handshakes_in_progress": 64, "header_timeout_s": 10, "idle_timeout_s": 300, "max_age_s": 1800,
        "max_age_jitter": 0.1, "age_grace_s": 30, "ping_min_interval_s": 10, "ping_strikes": 2,
        "max_message_bytes": 16 * 1024 * 1024, "drain_lead_s": 0, "drain_timeout_s": 30, "drain_hard_s": 5,
        "inflate_offload_bytes": 65536,
    }
    assert {name: getattr(limits, name) for name in designed} == designed


@pytest.mark.parametrize("item", fields(Limits), ids=lambda item: item.name)
def test_each_limit_refuses_what_is_out_of_bounds_and_says_so(item) -> None:
    about = setting_of(item)
    for value in (about.minimum - 1, about.maximum + 1, -(10**30)):
        with pytest.raises(ValueError, match=rf"^{item.name} is .*allowed are .* to .* {about.unit}"):
            Limits(**{item.name: value})
    for value in (about.minimum, about.maximum):
        assert getattr(Limits(**{item.name: value}), item.name) == value
    assert about.doc


@pytest.mark.parametrize("value", ["8", None, True, [8], b"8", 1 + 2j])
def test_values_that_are_no_numbers_are_refused(value: object) -> None:
    for name in ("max_message_bytes", "idle_timeout_s"):
        with pytest.raises(ValueError, match=f"^{name} must be"):
            Limits(**{name: value})


@pytest.mark.parametrize("item", WHOLE, ids=lambda item: item.name)
def test_whole_numbers_take_no_fractions(item) -> None:
    with pytest.raises(ValueError, match=f"^{item.name} must be a whole number"):
        Limits(**{item.name: item.default + 0.5})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_durations_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"^idle_timeout_s "):
        Limits(idle_timeout_s=value)


def test_limits_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Limits().header_fields = 1  # type: ignore[misc]


def test_hits_are_counted_by_name() -> None:
    native = NativeLimits(Limits())
    assert native.hit_counts() == dict.fromkeys(NAMES, 0)
    native.count_hit("connections")
    native.count_hit("connections")
    assert native.hit_counts()["connections"] == 2
    with pytest.raises(ValueError, match="not in tuple"):
        native.count_hit("no_such_limit")


def test_every_counter_belongs_to_a_limit_on_the_page() -> None:
    names = {item.name for item in fields(Limits)}
    assert COUNTED_AS.keys() <= names
    assert set(NAMES) == (names | set(COUNTED_AS.values())) & set(NAMES)


def test_the_reference_page_is_up_to_date() -> None:
    assert (ROOT / PAGE).read_text() == page(), f"run: python -m prism_proxy.server.limits_doc > {PAGE}"
