"""Partition layouts: the specification's figures, and what every history of joins and leaves must keep."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_admin.layout import (
    NOBODY,
    PARTITIONS,
    Range,
    contiguous,
    from_ranges,
    join,
    leave,
    moves,
    owner_of,
    partition_of,
    ranges,
)
from prism_proxy._native.runtime.crc32 import partition_of as native_partition_of

VECTORS = {
    "orders": 238, "default": 223, "analytics": 136, "user-profiles": 99, "order-processing": 76, "test-ns": 103,
    "tenant-a": 11, "tenant-b": 177, "$admin-logs": 220, "prod-orders": 159, "ns-a": 4, "ns-b": 190, "ns-c": 40, "": 0,
}


@pytest.mark.parametrize(("namespace", "partition"), VECTORS.items())
def test_partitions_of_the_contract(namespace: str, partition: int) -> None:
    assert partition_of(namespace) == partition


def test_a_million_names_are_spread_evenly(record_property: Callable[[str, object], None]) -> None:
    """Hashing 1 M names: report the spread and ns per hash. Even is 3906 names a partition, ± 62 by chance."""
    names = [f"tenant-{number}" for number in range(1_000_000)]
    began = time.perf_counter()
    counts = Counter(map(native_partition_of, names))
    record_property("ns_per_hash", round((time.perf_counter() - began) * 1e3))
    record_property("spread", (min(counts.values()), max(counts.values())))
    assert len(counts) == PARTITIONS
    assert max(abs(count - len(names) / PARTITIONS) for count in counts.values()) < 6 * 62
    assert all(native_partition_of(name) == partition_of(name) for name in (*names[:1000], "", "ünï"))


def test_four_proxies_have_equal_ranges_in_any_order() -> None:
    names = ["proxy-01", "proxy-02", "proxy-03", "proxy-04"]
    expected = [Range(64 * i, 64 * i + 63, name) for i, name in enumerate(names)]
    for _ in range(10):
        random.shuffle(names)
        assert ranges(contiguous(names)) == expected


def test_three_proxies_share_the_remainder() -> None:
    assert [(start, end) for start, end, _ in ranges(contiguous("abc"))] == [(0, 85), (86, 170), (171, 255)]


@pytest.mark.parametrize("count", range(1, PARTITIONS + 1))
def test_every_partition_has_one_owner(count: int) -> None:
    layout = contiguous([f"p{number:03}" for number in range(count)])
    sizes = {layout.count(owner) for owner in layout}
    assert len(layout) == PARTITIONS
    assert None not in layout
    assert max(sizes) - min(sizes) <= 1


def test_surplus_proxies_own_nothing() -> None:
    layout = contiguous([f"p{number:03}" for number in range(300)])
    assert ranges(layout, "p299") == []
    assert None not in layout


def test_no_proxies_is_an_error() -> None:
    with pytest.raises(ValueError, match="no proxies available"):
        contiguous([])


@pytest.mark.parametrize(("before", "moved"), [(1, 128), (2, 85), (3, 64), (4, 51), (7, 32), (8, 28)])
def test_a_join_moves_the_fewest(before: int, moved: int) -> None:
    members = [f"proxy-{number:02}" for number in range(before)]
    layout = contiguous(members)
    after = join(layout, "proxy-99", members)
    changed = moves(layout, after)
    assert len(changed) == moved
    assert {move.target for move in changed} == {"proxy-99"}


def test_a_leave_moves_only_the_leavers() -> None:
    members = ["a", "b", "c", "d", "e"]
    layout = contiguous(members)
    after = leave(layout, "c", members)
    assert {move.source for move in moves(layout, after)} == {"c"}
    assert {move.partition for move in moves(layout, after)} == {p for p in range(PARTITIONS) if layout[p] == "c"}


def test_the_last_to_leave_leaves_nobody_and_the_next_takes_all() -> None:
    alone = contiguous(["a"])
    empty = leave(alone, "a", ["a"])
    assert empty == NOBODY
    assert join(empty, "b", []) == contiguous(["b"])


def test_partitions_out_of_bounds_are_named() -> None:
    with pytest.raises(ValueError, match="partition 256 is not within 0 to 255"):
        owner_of(NOBODY, 256)
    with pytest.raises(ValueError, match="two owners"):
        from_ranges([Range(0, 5, "a"), Range(5, 6, "b")])


@given(st.data())
def test_histories_keep_every_promise(data: st.DataObject) -> None:
    """Each step: full coverage, only the affected move, pinned partitions stay, loads stay even where they can."""
    members = ["p0"]
    layout = contiguous(members)
    pinned: set[int] = set()
    for step in range(data.draw(st.integers(1, 12))):
        before = layout
        if len(members) > 1 and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(members))
            members = [name for name in members if name != gone]
            layout = leave(layout, gone, members, pinned)
            assert all(move.source == gone for move in moves(before, layout))
            assert all(layout[p] in members or p in pinned for p in range(PARTITIONS))
        else:
            new = f"p{step + 1}"
            layout = join(layout, new, members, pinned)
            members = [*members, new]
            assert all(move.target == new for move in moves(before, layout))
            assert layout.count(new) <= PARTITIONS // len(members) or not moves(before, layout)
        assert not {move.partition for move in moves(before, layout)} & pinned
        assert from_ranges(ranges(layout)) == layout
        if not pinned:
            loads = [layout.count(name) for name in members]
            assert min(loads) >= PARTITIONS // len(members) - len(members)
        pinned |= set(data.draw(st.lists(st.integers(0, PARTITIONS - 1), max_size=3)))


def test_a_proxy_that_returns_to_its_pinned_partitions_counts_them() -> None:
    members = ["a", "b"]
    layout = contiguous(members)
    pinned = {200, 201}
    assert {p for p in range(PARTITIONS) if leave(layout, "b", members, pinned)[p] == "b"} == pinned
    back = join(leave(layout, "b", members, pinned), "b", ["a"], pinned)
    assert back.count("b") == 128
    assert {back[p] for p in pinned} == {"b"}
