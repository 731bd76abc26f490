"""Who is declared dead, and when nobody may be."""

from __future__ import annotations

import pytest

from prism_admin.membership import Membership, Status, Sweep


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def membership(clock: Clock, *proxies: str) -> Membership:
    found = Membership(clock=clock)
    for proxy in proxies:
        assert found.heard(proxy)
    return found


def test_silence_over_the_limit_is_unhealthy_once(clock: Clock) -> None:
    found = membership(clock, "a", "b", "c")
    clock.now += 30
    found.heard("a")
    found.heard("b")
    clock.now += 15
    assert found.sweep() == Sweep()
    clock.now += 1
    assert found.sweep() == Sweep(lost=("c",))
    assert found.status("c") is Status.UNHEALTHY
    assert found.members() == ["a", "b"]
    assert found.sweep() == Sweep()
    assert found.heard("c")
    assert not found.heard("c")
    assert found.members() == ["a", "b", "c"]


def test_most_silent_at_once_moves_nothing(clock: Clock) -> None:
    found = membership(clock, "a", "b", "c")
    clock.now += 40
    found.heard("a")
    clock.now += 10
    assert found.sweep() == Sweep(silent=("b", "c"), alarm=True)
    assert found.members() == ["a", "b", "c"]
    found.heard("b")
    assert found.sweep() == Sweep(lost=("c",))


def test_one_of_one_may_be_lost(clock: Clock) -> None:
    found = membership(clock, "a")
    clock.now += 46
    assert found.sweep() == Sweep(lost=("a",))


def test_after_a_restart_nobody_is_dead_before_the_limit(clock: Clock) -> None:
    found = Membership(clock=clock)
    found.restore(dict.fromkeys("abc", Status.HEALTHY))
    assert found.status("a") is Status.UNKNOWN
    clock.now += 44
    assert found.sweep() == Sweep()
    found.heard("a")
    found.heard("b")
    clock.now += 2
    assert found.sweep() == Sweep(lost=("c",))


def test_who_leaves_on_purpose_is_not_missed(clock: Clock) -> None:
    found = membership(clock, "a", "b")
    found.forget("b")
    clock.now += 30
    found.heard("a")
    clock.now += 30
    assert found.sweep() == Sweep()
    assert not found.knows("b")
