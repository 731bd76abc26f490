"""The memory store against a dict: every operation, expiry under a fake clock, recency eviction."""

from collections import OrderedDict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from prism_proxy._native.memstore.store import MemStore, StoreFull

KEYS = st.one_of(
    st.sampled_from([b"a", b"a\0", b"a\0\0", b"ab", b"abcdefgh", b"abcdefgh\0", b"abcdefghi", b"\xff", b"\xff\xff"]),
    st.binary(min_size=1, max_size=12),
)
VALUES = st.one_of(st.binary(max_size=40), st.sampled_from([3, 5000, 70_000]).map(bytes))
SECOND = 1_000_000_000


class StoreModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100 * SECOND
        self.store = MemStore(1 << 40, clock=lambda: self.now)
        self.values: dict[bytes, bytes] = {}
        self.deadlines: dict[bytes, int] = {}
        self.versions: set[int] = set()

    def live(self) -> dict[bytes, bytes]:
        for key in [k for k, deadline in self.deadlines.items() if deadline <= self.now]:
            del self.values[key], self.deadlines[key]
        return self.values

    def put(self, key: bytes, value: bytes) -> None:
        self.live()[key] = value
        self.deadlines.pop(key, None)

    def drop(self, key: bytes) -> bool:
        self.deadlines.pop(key, None)
        return self.live().pop(key, None) is not None

    @rule(key=KEYS, value=VALUES)
    def set(self, key: bytes, value: bytes) -> None:
        self.store.set(key, value)
        self.put(key, value)

    @rule(key=KEYS)
    def read(self, key: bytes) -> None:
        assert self.store.get(key) == self.live().get(key)
        assert self.store.exists(key) == (key in self.live())

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        existed = key in self.live()
        assert self.store.delete(key) == existed == self.drop(key)

    @rule(key=KEYS, ttl=st.sampled_from([0, 1, SECOND, 3600 * SECOND, 10**6 * SECOND, 2**62]))
    def expire(self, key: bytes, ttl: int) -> None:
        existed = key in self.live()
        assert self.store.expire(key, ttl) == existed
        if existed and ttl == 0:
            self.drop(key)
        elif existed:
            self.deadlines[key] = self.now + ttl

    @rule(key=KEYS)
    def persist(self, key: bytes) -> None:
        self.live()
        assert self.store.persist(key) == (self.deadlines.pop(key, None) is not None)

    @rule(key=KEYS)
    def ttl(self, key: bytes) -> None:
        expected = (self.deadlines[key] - self.now if key in self.deadlines else -1) if key in self.live() else None
        assert self.store.ttl_ns(key) == expected

    @rule(key=KEYS, value=VALUES, guess=st.one_of(st.none(), VALUES), right=st.booleans())
    def compare(self, key: bytes, value: bytes, guess: bytes | None, right: bool) -> None:
        held = self.live().get(key)
        expected = held if right else guess
        done, actual = self.store.compare_and_swap(key, expected, value)
        assert (done, actual) == ((True, None) if held == expected else (False, held))
        if done:
            self.put(key, value)
            assert self.store.compare_and_delete(key, value + b"!") == (False, value)
            assert self.store.compare_and_delete(key, value) == (True, None)
            self.drop(key)

    @rule(keys=st.lists(KEYS, unique=True, max_size=4), writes=st.dictionaries(KEYS, VALUES, max_size=4),
          stale=st.booleans())
    def commit(self, keys: list[bytes], writes: dict[bytes, bytes], stale: bool) -> None:
        reads = {}
        for key in keys:
            value, version = self.store.get_versioned(key)
            assert value == self.live().get(key)
            assert (version == 0) == (value is None)
            reads[key] = version
        if stale and keys:
            self.set(keys[0], b"in between")
            assert not self.store.commit(reads, writes)
            return
        assert self.store.commit(reads, writes)
        for key, value in writes.items():
            self.put(key, value)
            version = self.store.get_versioned(key)[1]
            assert version not in self.versions, "versions never repeat"
            self.versions.add(version)

    @rule(prefix=st.one_of(st.just(b""), st.just(b"a"), KEYS), count=st.integers(1, 5), values=st.booleans())
    def scan(self, prefix: bytes, count: int, values: bool) -> None:
        found, after = [], None
        while True:
            items, after = self.store.scan(prefix, after, count, values)
            assert len(items) <= count
            found += items
            if after is None:
                break
        assert found == [(k, v if values else None) for k, v in sorted(self.live().items()) if k.startswith(prefix)]

    @rule(seconds=st.sampled_from([1, 30, 600]), budget=st.sampled_from([1, 3, 1000]))
    def time_passes(self, seconds: int, budget: int) -> None:
        self.now += seconds * SECOND
        self.store.tick(budget)

    @rule()
    def expire_all_due(self) -> None:
        self.now += SECOND  # over the coarseness of the wheel
        self.live()
        while self.store.tick(10_000):
            pass
        # what came due in the last moments may still be in the wheel, never the reverse
        assert self.store.counters()["keys"] >= len(self.values)

    @invariant()
    def counted(self) -> None:
        counters = self.store.counters()
        assert counters["keys"] >= len(self.live())
        assert counters["bytes"] > sum(len(k) + len(v) for k, v in self.live().items())


StoreModel.TestCase.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
test_model = StoreModel.TestCase


@pytest.mark.parametrize("bound", [1, 2, 7])
def test_eviction_is_by_exact_recency(bound: int) -> None:
    store = MemStore(1 << 30, bound, True)
    model: OrderedDict[bytes, bytes] = OrderedDict()
    for i in range(2000):
        key = b"k%d" % (i * 7919 % 13)
        if i % 3:
            store.set(key, b"%d" % i)
            model[key] = b"%d" % i
            model.move_to_end(key)
            if len(model) > bound:
                model.popitem(last=False)
        else:
            assert store.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        assert store.counters()["keys"] == len(model)
    assert [k for k, _ in store.scan(b"", None, 100, False)[0]] == sorted(model)


def test_max_keys_refuses_new_keys_alone() -> None:
    store = MemStore(1 << 30, 2)
    store.set(b"a", b"1")
    store.set(b"b", b"1")
    with pytest.raises(StoreFull):
        store.set(b"c", b"1")
    store.set(b"a", b"2" * 1000)
    assert store.delete(b"b")
    store.set(b"c", b"1")
    assert store.counters()["refused"] == 1
