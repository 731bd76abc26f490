"""Gates against plain models of a token bucket and of counters, with a clock that is passed in."""

from __future__ import annotations

import os
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_proxy._native.grpc.quota import DIMENSIONS, NamespaceQuota, SharedQuotaTable
from prism_proxy.namespaces.limits import LoadLimits
from prism_proxy.namespaces.quotas import make_quota, refusal

ADMITTED, RATE, CALLS, BYTES = range(4)
SECOND = 1_000_000_000
START = 100 * SECOND


def limited(page: SharedQuotaTable | None = None, name: str = "orders", **limits: float) -> NamespaceQuota:
    made = make_quota(page or SharedQuotaTable(), name, LoadLimits(**limits))  # type: ignore[arg-type]
    assert made is not None
    return made


def quota(of: NamespaceQuota, kind: int, now: int = START) -> tuple[int, int]:
    """(current, limit) over all workers, as a refused caller is told."""
    error, _ = of.explained(kind, now)
    assert error.quota is not None
    return error.quota.current, error.quota.limit


def sibling(page: SharedQuotaTable, worker: int) -> SharedQuotaTable:
    """The page as another worker maps it."""
    return SharedQuotaTable(fd=page.fd, worker=worker)


# --- requests per second ------------------------------------------------------------------------------------------


class TokenBucket:
    """The textbook form: `burst` tokens at most, `rate` new ones a second."""

    def __init__(self, interval_ns: int, burst: int) -> None:
        self.interval, self.burst = interval_ns, burst
        self.tokens, self.at = Fraction(burst), 0

    def admits(self, now: int) -> bool:
        self.tokens = min(Fraction(self.burst), self.tokens + Fraction(now - self.at, self.interval))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@given(rate=st.floats(0.01, 1e6), burst=st.integers(1, 50), data=st.data())
def test_the_rate_is_that_of_a_token_bucket(rate: float, burst: int, data: st.DataObject) -> None:
    interval = max(1, round(1e9 / rate))
    model, real = TokenBucket(interval, burst), limited(requests_per_second=rate, burst=burst)
    now = START
    for step in data.draw(st.lists(st.one_of(st.just(0), st.integers(0, 3 * interval * burst)), max_size=60)):
        now += step
        assert (real.admit(now) == ADMITTED) == model.admits(now)


def test_time_that_steps_back_gives_no_tokens() -> None:
    """Workers read the clock at different moments."""
    one = limited(requests_per_second=10, burst=2)
    steps = (0, -50, 0, -SECOND, 0)
    assert [one.admit(START + step) for step in steps] == [ADMITTED, RATE, ADMITTED, RATE, RATE]


@pytest.mark.parametrize(("rate", "burst"), [(5.0, 10), (1000.0, 100), (0.5, 10)])
def test_burst_by_default(rate: float, burst: int) -> None:
    one = limited(requests_per_second=rate)
    assert [one.admit(START) for _ in range(burst + 1)] == [ADMITTED] * burst + [RATE]


def test_a_call_refused_for_another_reason_costs_no_token() -> None:
    one = limited(requests_per_second=1, burst=2, concurrent_calls=1)
    assert [one.admit(START), one.admit(START), one.admit(START)] == [ADMITTED, CALLS, CALLS]
    one.release()
    assert one.admit(START) == ADMITTED


# --- what is in flight --------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["enter", "bytes", "leave", "die"]), st.integers(1, 60)),
                 max_size=80)


@given(calls=st.integers(1, 6), limit=st.integers(1, 100), steps=STEPS)
def test_calls_and_bytes_of_three_workers(calls: int, limit: int, steps: list[tuple[int, str, int]]) -> None:
    """One thread plays all workers, so the limits are exact; a worker that dies gives back all it held."""
    pages = [SharedQuotaTable(3)]
    pages += [sibling(pages[0], worker) for worker in (1, 2)]
    quotas = [limited(page, concurrent_calls=calls, bytes_in_flight=limit) for page in pages]
    held: list[list[int]] = [[], [], []]  # the bytes of each call in progress, by worker
    for worker, action, n in steps:
        if action == "enter":
            fits = sum(map(len, held)) < calls
            assert quotas[worker].admit(START) == (ADMITTED if fits else CALLS)
            held[worker] += [0] if fits else []
        elif action == "die":
            pages[0].forget(worker)
            held[worker] = []
        elif held[worker] and action == "bytes":
            fits = sum(map(sum, held)) + n <= limit
            assert quotas[worker].admit_bytes(n) == fits
            held[worker][-1] += n if fits else 0
        elif held[worker]:
            quotas[worker].release(held[worker].pop())
        assert quota(quotas[0], CALLS) == (sum(map(len, held)), calls)
        assert quota(quotas[1], BYTES) == (sum(map(sum, held)), limit)


# --- slots of the page --------------------------------------------------------------------------------------------


def test_unchanged_limits_keep_their_bucket() -> None:
    page = SharedQuotaTable()
    before = limited(page, requests_per_second=1, burst=1)
    assert (before.admit(START), before.admit(START)) == (ADMITTED, RATE)
    assert limited(page, requests_per_second=1, burst=1).admit(START) == RATE
    assert limited(page, "other", requests_per_second=1, burst=1).admit(START) == ADMITTED


def test_a_raised_rate_is_in_force_after_a_second() -> None:
    """Whatever the bucket of the lower rate owed."""
    page = SharedQuotaTable()
    before = limited(page, requests_per_second=0.01, burst=50)
    assert [before.admit(START) for _ in range(51)] == [ADMITTED] * 50 + [RATE]
    after = limited(page, requests_per_second=100, burst=10)
    assert after.admit(START) == RATE
    assert after.admit(START + SECOND) == RATE
    assert [after.admit(START + SECOND + SECOND // 10) for _ in range(11)] == [ADMITTED] * 10 + [RATE]


def test_changed_limits_know_of_the_calls_in_progress() -> None:
    page = SharedQuotaTable()
    before = limited(page, requests_per_second=100)
    assert [before.admit(START) for _ in range(3)] == [ADMITTED] * 3
    after = limited(page, concurrent_calls=4)
    assert [after.admit(START), after.admit(START)] == [ADMITTED, CALLS]
    before.release()
    assert after.admit(START) == ADMITTED


def test_a_full_page_gives_the_slots_of_namespaces_that_are_gone() -> None:
    page = SharedQuotaTable(slots=2)
    kept = [limited(page, name, concurrent_calls=1) for name in ("a", "b")]
    with pytest.raises(ValueError, match="no more than 2 namespaces"):
        limited(page, "c", concurrent_calls=1)
    assert kept[0].admit(START) == ADMITTED
    del kept[0]
    assert limited(page, "c", concurrent_calls=1).admit(START) == ADMITTED


def test_a_page_tells_what_is_no_page() -> None:
    two = SharedQuotaTable(2)
    with open(os.devnull) as null, pytest.raises(ValueError, match="no page"):
        SharedQuotaTable(fd=null.fileno())
    empty = os.memfd_create("empty")
    os.ftruncate(empty, 1 << 16)
    with pytest.raises(ValueError, match="no page"):
        SharedQuotaTable(fd=empty)
    os.close(empty)
    with pytest.raises(ValueError, match="none with number 2"):
        sibling(two, 2)
    with pytest.raises(ValueError, match="none with number 2"):
        two.forget(2)
    with pytest.raises(ValueError, match="at most"):
        SharedQuotaTable(0)


# --- what is shown ------------------------------------------------------------------------------------------------


def test_figures() -> None:
    one = limited(requests_per_second=100, burst=10, concurrent_calls=12)
    for _ in range(25):
        one.admit(START)
    assert one.refused() == {"requests_per_second": 15, "concurrent_calls": 0}
    usage = one.usage(START)
    assert usage["concurrent_calls"] == 10
    assert 20 <= usage["requests_per_second"] <= 25
    assert one.limiting(SECOND, START + SECOND) == ["requests_per_second"]
    assert one.limiting(SECOND, START + SECOND + 1) == []
    assert one.usage(START + 10 * SECOND)["requests_per_second"] == 0


@pytest.mark.parametrize("demand", [500, 1100, 5000])
def test_the_arrival_rate_is_what_comes(demand: int) -> None:
    one = limited(requests_per_second=1000)
    for call in range(demand * 3):
        if one.admit(START + call * SECOND // demand) == ADMITTED:
            one.release()
    end = START + 3 * SECOND
    assert one.usage(end)["requests_per_second"] == pytest.approx(demand, rel=0.05)
    assert quota(one, RATE, end) == (pytest.approx(demand, rel=0.05), 1000)


def test_a_lone_caller_may_try_again_with_the_next_token() -> None:
    one = limited(requests_per_second=10, burst=1)
    assert (one.admit(START), one.admit(START + SECOND // 100)) == (ADMITTED, RATE)
    retry = one.explained(RATE, START + SECOND // 100)[0].retry_after
    assert retry == pytest.approx(0.09, abs=0.002)
    assert retry is not None
    assert one.admit(START + SECOND // 100 + int(retry * SECOND)) == ADMITTED


def test_callers_are_spread_over_the_time_their_excess_takes() -> None:
    """Of 500 a second, 400 are refused, which is four seconds' worth."""
    one = limited(requests_per_second=100)
    for call in range(1000):
        if one.admit(START + call * SECOND // 500) == ADMITTED:
            one.release()
    error, spread = one.explained(RATE, START + 2 * SECOND)
    assert spread == pytest.approx(4, rel=0.05)
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 0.011


# --- limits and their error ---------------------------------------------------------------------------------------


def test_no_limits_no_gate() -> None:
    assert make_quota(SharedQuotaTable(), "orders", LoadLimits()) is None
    assert make_quota(SharedQuotaTable(), "orders", LoadLimits(burst=5)) is None


@pytest.mark.parametrize("field", ["requests_per_second", "burst", "concurrent_calls", "bytes_in_flight"])
def test_limits_below_zero_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        LoadLimits(**{field: -1})  # type: ignore[arg-type]


@pytest.mark.parametrize("dimension", DIMENSIONS[1:])
def test_the_error_says_what_to_change(dimension: str) -> None:
    limits = LoadLimits(1000, 0, 20, 30)
    error = refusal("orders", limits, dimension, 40, retry_after=0.25, reset_after=1.0)
    assert f"limits.{dimension}" in error.message
    assert "'orders'" in error.message
    assert error.metadata["outcome"] == "not_executed"
    assert error.metadata["retry_after_ms"] == "250"
    assert refusal("orders", limits, dimension, 4, retry_after=None, reset_after=1.0, executed=True).metadata[
        "outcome"] == "unknown"
