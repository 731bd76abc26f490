"""What waits in a queue makes no message dearer: the benchmark in its short form, by CPU and not by time."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.queue_depth import STORES, compared


@pytest.mark.parametrize("store", STORES)
async def test_a_deep_queue_costs_what_a_shallow_one_does(store: str) -> None:
    """What looked at all that waits would cost a hundred times as much."""
    if store == "redis" and shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server: apt: redis-server")
    few, many = await compared(store, 20_000, cycles=150, shallow=200)
    assert many < 3 * few
