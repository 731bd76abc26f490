"""What holds when the memory store is full: nothing is half done, and the account stays true."""

import os
import subprocess
import sys

import pytest

from prism_proxy._native.memstore.store import MemStore, StoreFull


def fill(store: MemStore, value: bytes = b"z" * 50) -> int:
    for i in range(1_000_000):
        try:
            store.set(b"fill%06d" % i, value)
        except StoreFull:
            return i
    raise AssertionError("the store never filled")


def contents(store: MemStore) -> dict[bytes, bytes | None]:
    found, after = {}, None
    while True:
        items, after = store.scan(b"", after, 100, True)
        found.update(items)
        if after is None:
            return found


def test_a_full_store_still_reads_deletes_and_overwrites() -> None:
    store = MemStore(200_000)
    keys = fill(store)
    for i in range(1000):
        try:
            store.set(b"%d" % i, b"")
        except StoreFull:
            break
    assert store.is_full()
    assert store.get(b"fill000000") == b"z" * 50
    store.set(b"fill000000", b"y" * 50)
    store.set(b"fill000001", b"")
    with pytest.raises(StoreFull):
        store.set(b"fill000002", b"x" * 5000)
    assert store.get(b"fill000002") == b"z" * 50, "a refused write changes nothing"
    assert keys > 400
    for key in contents(store):
        assert store.delete(key)
    assert not store.is_full()
    assert store.counters()["keys"] == 0


def test_new_bounds_are_those_of_the_next_write() -> None:
    store = MemStore(200_000)
    keys = fill(store)
    store.resize(400_000)
    assert not store.is_full()
    assert fill(store) > keys
    store.resize(100_000)
    assert store.is_full()
    with pytest.raises(StoreFull):
        store.set(b"new", b"")
    assert store.get(b"fill000000") == b"z" * 50
    store.resize(0, 5)
    with pytest.raises(StoreFull):
        store.set(b"new", b"")


@pytest.mark.parametrize("bounds", [(100_000, 0), (0, 100)])
def test_a_store_that_evicts_falls_to_its_new_bounds_in_upkeep(bounds: tuple[int, int]) -> None:
    store = MemStore(400_000, lru=True)
    for i in range(3000):
        store.set(b"%06d" % i, b"z" * 50)
    store.resize(*bounds)
    while store.tick(100):
        pass
    counters = store.counters()
    assert counters["bytes"] <= (bounds[0] or 400_000)
    assert 0 < counters["keys"] <= (bounds[1] or 3000)
    assert store.get(b"002999") is not None


@pytest.mark.parametrize("growing_first", [True, False])
def test_commit_at_the_bound_whose_sum_shrinks(growing_first: bool) -> None:
    """Room is a matter of the whole commit, not of each write in turn."""
    store = MemStore(200_000)
    store.set(b"a", b"x")
    store.set(b"b", b"y" * 100_000)
    fill(store)
    writes = {b"a": b"x" * 50_000, b"b": b"y"}
    if not growing_first:
        writes = dict(reversed(writes.items()))
    assert store.commit({}, writes)
    assert store.get(b"a") == b"x" * 50_000
    assert store.get(b"b") == b"y"


def test_commit_without_room_changes_nothing() -> None:
    store = MemStore(200_000)
    store.set(b"a", b"x")
    fill(store)
    before, counters = contents(store), store.counters()
    version = store.get_versioned(b"a")[1]
    with pytest.raises(StoreFull):
        store.commit({b"a": version}, {b"a": b"changed", b"new": b"n" * 10_000})
    assert contents(store) == before
    assert store.get_versioned(b"a")[1] == version
    assert store.counters()["bytes"] == counters["bytes"]


def test_commit_evicts_others_but_never_its_own_keys() -> None:
    store = MemStore(200_000, lru=True)
    store.set(b"a", b"old")  # the least recently used
    for i in range(2000):
        store.set(b"fill%06d" % i, b"z" * 50)
        store.get(b"a") if i % 50 == 0 else None
    assert store.commit({}, {b"a": b"A" * 20_000, b"new1": b"N" * 20_000, b"new2": b"N" * 20_000})
    assert store.get(b"a") == b"A" * 20_000
    assert store.get(b"new1") == store.get(b"new2") == b"N" * 20_000
    assert store.counters()["bytes"] <= 200_000


def test_commit_larger_than_an_evicting_store_is_refused_whole() -> None:
    store = MemStore(200_000, lru=True)
    store.set(b"a", b"1")
    with pytest.raises(StoreFull):
        store.commit({}, {b"a": b"2", b"big": b"x" * 300_000})
    assert store.get(b"a") == b"1"
    assert not store.exists(b"big")


def test_commit_over_max_keys_is_refused_whole() -> None:
    store = MemStore(1 << 30, 3)
    store.set(b"a", b"1")
    with pytest.raises(StoreFull):
        store.commit({}, {b"a": b"2", b"b": b"2", b"c": b"2", b"d": b"2"})
    assert contents(store) == {b"a": b"1"}
    assert store.commit({}, {b"a": b"2", b"b": b"2", b"c": b"2"})


def test_bytes_return_to_the_start_when_everything_is_deleted() -> None:
    store = MemStore(1 << 30)
    empty = store.counters()["bytes"]
    for size in (0, 1, 100, 5000, 40_000):
        for i in range(200):
            store.set(b"%d/%d" % (size, i), b"v" * size)
            store.set(b"%d/%d" % (size, i), b"v" * (size // 2))
    for key in contents(store):
        store.delete(key)
    assert store.counters()["keys"] == 0
    assert store.counters()["bytes"] == empty


SIZES = [16 * step for step in range(1, 16)] + [300, 420, 600, 850, 1200, 1700, 2400, 3400, 4900, 6900, 9000, 14_000]


def scatter(store: MemStore, size: int, largest: int) -> None:
    """Store up to `largest` bytes of values of one size, then delete all but a few, far apart in memory."""
    kept_every = 256 * 1024 // (size + 40)
    keys = [b"%d/%d" % (size, index) for index in range(largest // size)]
    for index, key in enumerate(keys):
        try:
            store.set(key, bytes(size))
        except StoreFull:
            keys = keys[:index]
            break
    for index, key in enumerate(keys):
        if index % kept_every:
            store.delete(key)


def test_survivors_cannot_keep_more_mapped_than_promised() -> None:
    bound, mib = 8 << 20, 1 << 20
    store = MemStore(bound)
    for size in SIZES:
        scatter(store, size, bound)
        assert store.counters()["reserved"] <= 2 * bound + 32 * mib
    assert store.counters()["bytes"] < bound // 4
    assert store.is_full(), "nothing but large free holes is a state to report"
    while store.clear(1000):
        pass
    assert not store.is_full()
    assert store.counters()["reserved"] < 2 * mib
    assert fill(store) > 10_000


def test_an_evicting_store_frees_what_survivors_hold() -> None:
    bound = 8 << 20
    store = MemStore(bound, lru=True)
    for size in SIZES:
        scatter(store, size, bound)
        while store.tick(100):
            pass
        store.set(b"large", bytes(bound // 2))
        assert not store.is_full()
    assert store.counters()["refused"] == 0


RESIDENT_PROBE = """
import resource
from prism_proxy._native.memstore.store import MemStore

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()

store = MemStore(1 << 30)
before, charged = resident(), store.counters()["bytes"]
for i in range(150_000):
    store.set(b"account:%08d" % i, b"v" * 100)
print((store.counters()["bytes"] - charged) / (resident() - before))
"""


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer's allocator adds its own")
def test_account_is_close_to_what_a_process_grows_by() -> None:
    probe = subprocess.run([sys.executable, "-c", RESIDENT_PROBE], capture_output=True, text=True, check=True)
    assert 0.8 < float(probe.stdout) < 1.2
