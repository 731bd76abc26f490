"""The retry budget over time."""

from __future__ import annotations

from prism_proxy.slots.budget import RetryBudget


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def drain(budget: RetryBudget) -> int:
    granted = 0
    while budget.retry():
        granted += 1
    return granted


def test_retries_are_a_share_of_the_calls_of_the_last_10_s_and_a_floor() -> None:
    time = Time()
    budget = RetryBudget(0.2, 1.0, time)
    assert drain(budget) == 10, "the floor"
    for _ in range(100):
        budget.call()
    assert drain(budget) == 20
    assert budget.exhausted == 2


def test_what_was_spent_comes_back_when_its_second_is_over() -> None:
    time = Time()
    budget = RetryBudget(0.0, 0.5, time)
    assert drain(budget) == 5
    time.now += 9.9
    assert drain(budget) == 0
    time.now += 0.1
    assert drain(budget) == 5
    time.now += 3600
    assert drain(budget) == 5


def test_storms_stay_within_the_share() -> None:
    time = Time()
    budget = RetryBudget(0.1, 0.0, time)
    attempts = 0
    for _ in range(60):  # seconds of an outage: each call would like two retries
        for _ in range(200):
            budget.call()
            attempts += 1 + sum(budget.retry() for _ in range(2))
        time.now += 1
    assert attempts <= 60 * 200 * 1.1 + 1
