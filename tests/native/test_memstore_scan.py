"""Scans while keys come and go: in order, no key twice, none missed that stayed, every call bounded."""

import random

from prism_proxy._native.memstore.store import MemStore


def test_scan_under_interleaved_writes_meets_every_key_that_stayed_once() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        store = MemStore(1 << 30)
        stayed = {b"stay:%05d" % rng.randrange(100_000) for _ in range(400)}
        for key in stayed:
            store.set(key, b"s")
        met, after = [], None
        while True:
            items, after = store.scan(b"stay:", after, rng.randint(1, 20), False)
            met += [key for key, _ in items]
            for _ in range(10):
                other = b"stay:%05d" % rng.randrange(100_000)
                if other in stayed:
                    store.set(other, b"overwritten")
                elif rng.random() < 0.5:
                    store.set(other, b"came")
                else:
                    store.delete(other)
            if after is None:
                break
        assert met == sorted(set(met))
        assert stayed <= set(met)


def test_scan_resumes_after_a_key_that_is_gone() -> None:
    store = MemStore(1 << 30)
    for i in range(10):
        store.set(b"%d" % i, b"")
    items, after = store.scan(b"", None, 4, False)
    for key, _ in items:
        store.delete(key)
    assert [k for k, _ in store.scan(b"", after, 10, False)[0]] == [b"4", b"5", b"6", b"7", b"8", b"9"]


def test_page_over_expired_keys_is_bounded_and_goes_on() -> None:
    now = 10**9
    store = MemStore(1 << 30, clock=lambda: now)
    for i in range(20_000):
        store.set(b"%06d" % i, b"")
        store.expire(b"%06d" % i, 10**9)
    store.set(b"zz", b"last")
    now = 3 * 10**9
    pages, found, after = 0, [], None
    while True:
        items, after = store.scan(b"", after, 100, True)
        pages, found = pages + 1, found + items
        if after is None:
            break
    assert found == [(b"zz", b"last")]
    assert pages > 10, "the expired keys were skipped in one unbounded page"


def test_keys_that_are_prefixes_of_each_other_stay_in_order() -> None:
    store = MemStore(1 << 30)
    keys = [b"p" * n for n in range(1, 300)] + [b"p" * n + b"\0" for n in range(300)]
    for key in random.Random(1).sample(keys, len(keys)):
        store.set(key, b"")
    found: list[bytes] = []
    after = None
    while True:
        items, after = store.scan(b"", after, 1000, False)
        found += [key for key, _ in items]
        if after is None:
            break
    assert found == sorted(keys)


def test_thinned_out_stretches_are_given_back() -> None:
    """Deleted in order, then again what was left over: no empty node stays behind to be walked over."""
    store = MemStore(1 << 30)
    keys = [b"%08d" % number for number in range(100_000)]
    for key in random.Random(3).sample(keys, len(keys)):
        store.set(key, b"")
    empty_leaves_worth = 100_000
    for every in (2000, 100_000):
        for number, key in enumerate(keys):
            if number % every:
                store.delete(key)
    assert store.scan(b"", None, 10, False) == ([(keys[0], None)], None)
    assert store.counters()["bytes"] < empty_leaves_worth
