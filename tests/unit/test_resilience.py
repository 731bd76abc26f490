"""A slot over a shared backend that fails: what is repeated, what is refused, and what callers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from prism_proxy.contracts.driver import Health
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue.operations import COMPARE_AND_SWAP, GET, SCAN_ON, SET
from prism_proxy.slots import status as slot_status
from prism_proxy.slots.circuit import State
from prism_proxy.slots.operation import Operation
from prism_proxy.slots.options import CircuitOptions, ConcurrencyOptions, ReconnectOptions, RetryOptions, SlotOptions
from prism_proxy.slots.resilience import Resilience
from prism_proxy.slots.slot import Slot
from tests.support.scripted_driver import (
    AnsweredError,
    BusyError,
    FullError,
    LostError,
    RefusedError,
    ScriptedDriver,
    TimedOutError,
)
from tests.support.virtual_time import run

PATIENT = SlotOptions(circuit=CircuitOptions(max_failures=1000))


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def sync(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return sync


class Under:
    """A slot under test, in virtual time."""

    def __init__(self, driver: ScriptedDriver, options: SlotOptions | None = None) -> None:
        self.driver = driver
        self.slot = Slot("store", "orders", driver, options=options, clock=asyncio.get_running_loop().time)
        assert self.slot.resilience is not None
        self.guard: Resilience = self.slot.resilience

    async def get(self, caller: Any = None) -> bytes | None:
        return await self.slot.call(GET, caller, self.driver.get, b"key")

    async def set(self, caller: Any = None) -> None:
        await self.slot.call(SET, caller, self.driver.set, b"key", b"value")

    async def refused(self, call: Callable[[], Awaitable[object]]) -> PrismError:
        with pytest.raises(PrismError) as caught:
            await call()
        return caught.value


class Caller:
    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + seconds

    def time_remaining(self) -> float:
        return max(0.0, self._deadline - self._loop.time())


def now() -> float:
    return asyncio.get_running_loop().time()


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [RefusedError(), LostError(), TimedOutError()],
                         ids=lambda error: type(error).__name__)
@in_virtual_time
async def test_a_read_is_repeated_whatever_became_of_it(failure: Exception) -> None:
    under = Under(ScriptedDriver([failure, failure]))
    assert await under.get() == b"value"
    assert (under.driver.calls, under.guard.retried) == (["get"] * 3, 2)


@in_virtual_time
async def test_a_write_is_repeated_only_if_it_was_not_executed() -> None:
    under = Under(ScriptedDriver([RefusedError(), RefusedError(), LostError()]))
    await under.refused(under.set)
    assert under.driver.calls == ["set"] * 3
    under = Under(ScriptedDriver([RefusedError()]))
    await under.set()
    assert under.driver.calls == ["set"] * 2


@in_virtual_time
async def test_err5_a_write_of_unknown_outcome_says_so_and_offers_no_retry() -> None:
    raw = LostError()
    under = Under(ScriptedDriver([raw]))
    error = await under.refused(under.set)
    assert (error.code, error.reason, error.retry_after) == (StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", None)
    assert error.metadata == {
        "namespace": "orders", "backend": "scripted", "slot": "store", "operation": "Set", "phase": "await",
        "attempt": "1", "outcome": "unknown"}
    assert error.__cause__ is raw


@in_virtual_time
async def test_err5_when_attempts_are_used_up_the_last_error_says_how_many_and_when_to_retry() -> None:
    under = Under(ScriptedDriver(always=RefusedError()))
    error = await under.refused(under.set)
    assert under.driver.calls == ["set"] * 3
    assert (error.metadata["attempt"], error.metadata["phase"], error.metadata["outcome"]) == (
        "3", "connect", "not_executed")
    assert error.retry_after == 1.0
    assert isinstance(error.__cause__, RefusedError)


@in_virtual_time
async def test_a_failed_read_leaves_no_doubt() -> None:
    under = Under(ScriptedDriver(always=LostError()))
    error = await under.refused(under.get)
    assert (error.metadata["outcome"], error.retry_after) == ("not_executed", 1.0)


@in_virtual_time
async def test_retry_writes_repeats_what_overwrites_but_no_comparison() -> None:
    options = SlotOptions(retries=RetryOptions(retry_writes=True))
    under = Under(ScriptedDriver([LostError()]), options)
    await under.set()
    assert under.driver.calls == ["set"] * 2
    under = Under(ScriptedDriver([LostError()]), options)
    error = await under.refused(
        lambda: under.slot.call(COMPARE_AND_SWAP, None, under.driver.compare_and_swap, b"key", None, b"value"))
    assert error.metadata["outcome"] == "unknown"
    assert under.driver.calls == ["compare_and_swap"]


@in_virtual_time
async def test_a_scan_is_not_repeated_once_an_element_was_found() -> None:
    under = Under(ScriptedDriver(always=RefusedError()))
    error = await under.refused(lambda: under.slot.call(SCAN_ON, None, under.driver.scan, b"", None, 1, values=True))
    assert (under.driver.calls, error.metadata["outcome"]) == (["scan"], "not_executed")


@in_virtual_time
async def test_waits_grow_with_the_attempts_and_end_before_the_deadline() -> None:
    options = SlotOptions(retries=RetryOptions(max_attempts=10, backoff_first_s=0.1, backoff_max_s=0.4),
                          circuit=CircuitOptions(max_failures=1000))
    under = Under(ScriptedDriver(always=RefusedError()), options)
    waits: list[float] = []
    under.guard._jitter = lambda low, high: waits.append(high) or high  # type: ignore[func-returns-value]
    began = now()
    await under.refused(lambda: under.get(Caller(1.0)))
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.4])
    assert now() - began == pytest.approx(0.7), "it waited for an attempt beyond the deadline"
    assert len(under.driver.calls) == 4


@in_virtual_time
async def test_retries_stay_within_the_budget() -> None:
    options = SlotOptions(retries=RetryOptions(budget_ratio=0.1, budget_floor_per_s=0), circuit=PATIENT.circuit)
    under = Under(ScriptedDriver(always=RefusedError()), options)
    for _ in range(200):
        await under.refused(under.get)
    assert len(under.driver.calls) == 220
    assert under.guard.budget.exhausted > 0


@in_virtual_time
async def test_a_driver_without_room_is_tried_again_and_opens_no_circuit() -> None:
    under = Under(ScriptedDriver([BusyError()]))
    await under.set()
    assert under.driver.calls == ["set"] * 2
    under = Under(ScriptedDriver(always=BusyError()))
    for _ in range(20):
        error = await under.refused(under.set)
    assert (error.reason, error.metadata["outcome"]) == ("POOL_EXHAUSTED", "not_executed")
    assert error.retry_after is not None
    assert under.guard.circuit.closed


@pytest.mark.parametrize("operation", [GET, SET], ids=lambda it: it.name)
@in_virtual_time
async def test_what_is_the_callers_fault_is_neither_repeated_nor_counted(operation: Operation) -> None:
    under = Under(ScriptedDriver(always=FullError()))
    for _ in range(20):
        error = await under.refused(lambda: under.slot.call(operation, None, under.driver.get, b"key"))
    assert (error.reason, error.metadata["attempt"]) == ("STORE_FULL", "1")
    assert len(under.driver.calls) == 20
    assert under.guard.circuit.closed


@in_virtual_time
async def test_defects_pass_unchanged() -> None:
    under = Under(ScriptedDriver(always=KeyError("defect")))
    for _ in range(20):
        with pytest.raises(KeyError):
            await under.get()
    assert under.guard.circuit.closed
    assert under.guard.limiter is not None
    assert under.guard.limiter.in_flight == 0


# --- circuit ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_buf2_an_open_circuit_refuses_at_once_and_probes_after_its_time() -> None:
    under = Under(ScriptedDriver(always=LostError()))
    for _ in range(5):
        await under.refused(under.set)
    error = await under.refused(under.set)
    assert (error.code, error.reason, error.retry_after) == (StatusCode.UNAVAILABLE, "CIRCUIT_OPEN", 30.0)
    assert error.metadata == {
        "namespace": "orders", "backend": "scripted", "slot": "store", "operation": "Set", "phase": "admit",
        "attempt": "1", "outcome": "not_executed", "last_failure": "BACKEND_UNAVAILABLE"}
    assert len(under.driver.calls) == 5
    under.driver.always = 0.5
    await asyncio.sleep(30)
    probe = asyncio.ensure_future(under.set())
    await asyncio.sleep(0.1)
    assert (await under.refused(under.set)).reason == "CIRCUIT_OPEN", "two probes at a time"
    await probe
    await under.set()
    assert len(under.driver.calls) == 7


@in_virtual_time
async def test_a_cancelled_call_says_nothing_of_the_backend_and_a_cancelled_probe_frees_its_place() -> None:
    under = Under(ScriptedDriver(always=10.0))
    for _ in range(20):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(under.get(), 0.01)
    assert under.guard.circuit.closed
    under.driver.always = LostError()
    for _ in range(5):
        await under.refused(under.set)
    await asyncio.sleep(30)
    under.driver.always = 10.0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(under.get(), 0.01)
    under.driver.always = None
    assert await under.get() == b"value"
    assert under.guard.circuit.state is State.CLOSED


@in_virtual_time
async def test_the_failure_that_opens_the_circuit_is_told_rather_than_the_refusal_of_its_retry() -> None:
    under = Under(ScriptedDriver(always=RefusedError()), SlotOptions(circuit=CircuitOptions(max_failures=2)))
    error = await under.refused(under.get)
    assert (error.reason, error.metadata["attempt"]) == ("BACKEND_UNAVAILABLE", "2")
    assert error.retry_after == pytest.approx(30.0)


@in_virtual_time
async def test_operators_see_the_circuit() -> None:
    under = Under(ScriptedDriver(always=LostError()))

    def samples() -> dict[str, float]:
        return {metric.name: metric.samples[0].value for metric in slot_status.metrics([under.slot])}

    assert slot_status.health(under.slot).status is Health.HEALTHY
    for _ in range(5):
        await under.refused(under.set)
    report = slot_status.health(under.slot)
    assert report.status is Health.UNHEALTHY
    assert report.details == {"circuit": "open", "last_failure": "BACKEND_UNAVAILABLE", "probe_in_s": "30.0"}
    assert samples()["prism_circuit_state"] == 2
    await asyncio.sleep(30)
    under.driver.always = 1.0
    probe = asyncio.ensure_future(under.set())
    await asyncio.sleep(0.1)
    assert slot_status.health(under.slot).status is Health.DEGRADED
    assert (samples()["prism_circuit_state"], samples()["prism_concurrency_in_use"]) == (1, 1)
    await probe
    assert slot_status.health(under.slot).details == {"circuit": "closed"}


# --- reconnection -----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_calls_wait_for_a_driver_that_reconnects_and_none_fails() -> None:
    under = Under(ScriptedDriver(always=RefusedError()))
    under.driver.status = Health.UNHEALTHY
    calls = [asyncio.ensure_future(under.set()) for _ in range(200)]
    await asyncio.sleep(0.6)
    assert under.guard.reconnection.waiting == 200
    under.driver.always, under.driver.status = 0.001, Health.HEALTHY
    began = now()
    await asyncio.gather(*calls)
    assert now() - began < 0.1
    assert under.guard.circuit.state is State.CLOSED


@in_virtual_time
async def test_calls_wait_no_longer_than_set_and_later_ones_not_at_all() -> None:
    under = Under(ScriptedDriver(always=RefusedError()))
    under.driver.status = Health.UNHEALTHY
    began = now()
    errors = await asyncio.gather(*(under.set() for _ in range(50)), return_exceptions=True)
    assert now() - began == pytest.approx(2.0)
    assert {error.metadata["outcome"] for error in errors if isinstance(error, PrismError)} == {"not_executed"}
    assert len(errors) == 50
    began = now()
    assert (await under.refused(under.set)).reason == "CIRCUIT_OPEN"
    assert now() == pytest.approx(began)
    under.driver.always, under.driver.status = None, Health.HEALTHY
    await asyncio.sleep(0.02)
    await under.set()


@in_virtual_time
async def test_nobody_waits_for_a_driver_that_was_closed() -> None:
    under = Under(ScriptedDriver(always=RefusedError()), SlotOptions(reconnect=ReconnectOptions(wait_s=60)))
    under.driver.status = Health.UNHEALTHY
    waiting = asyncio.ensure_future(under.refused(under.get))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await under.driver.close()
    began = now()
    assert (await waiting).reason == "BACKEND_UNAVAILABLE"
    await under.refused(under.get)
    assert now() - began < 5, "the pauses between the attempts"


@in_virtual_time
async def test_a_driver_that_has_some_of_its_connections_again() -> None:
    """Calls wait through every step, whatever the number of attempts."""
    options = SlotOptions(retries=RetryOptions(max_attempts=1), reconnect=ReconnectOptions(wait_s=10))
    under = Under(ScriptedDriver(always=RefusedError()), options)
    under.driver.status = Health.UNHEALTHY
    calls = [asyncio.ensure_future(under.set()) for _ in range(20)]
    await asyncio.sleep(1)
    under.driver.status = Health.DEGRADED  # but not those that these calls need
    await asyncio.sleep(1)
    assert not any(call.done() for call in calls)
    under.driver.always, under.driver.status = None, Health.HEALTHY
    await asyncio.gather(*calls)
    under.driver.status = Health.DEGRADED
    await under.set()
    under.driver.script = iter([RefusedError()] * 100)
    await asyncio.sleep(20)
    began = now()
    await under.refused(under.set)
    await asyncio.sleep(20)
    began = now()
    await under.refused(under.set)
    assert now() == pytest.approx(began), "a lasting degradation makes nobody wait"


@in_virtual_time
async def test_a_deadline_bounds_the_wait_and_so_does_the_number_of_those_who_wait() -> None:
    options = SlotOptions(reconnect=ReconnectOptions(wait_s=60, max_waiting=10))
    under = Under(ScriptedDriver(always=RefusedError()), options)
    under.driver.status = Health.UNHEALTHY
    began = now()
    await under.refused(lambda: under.set(Caller(0.2)))
    assert now() - began == pytest.approx(0.2)
    calls = [asyncio.ensure_future(under.set()) for _ in range(11)]
    done, _ = await asyncio.wait(calls, timeout=1)
    assert len(done) == 1
    under.driver.always, under.driver.status = None, Health.HEALTHY
    await asyncio.gather(*calls, return_exceptions=True)


# --- shedding ---------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_call_that_gets_no_turn_is_shed_and_may_be_made_again() -> None:
    options = SlotOptions(concurrency=ConcurrencyOptions(min_limit=1, initial_limit=2, max_limit=2, max_queued=3))
    under = Under(ScriptedDriver(always=10.0), options)
    calls = [asyncio.ensure_future(under.get()) for _ in range(5)]
    await asyncio.sleep(0)
    error = await under.refused(under.get)
    assert (error.code, error.reason) == (StatusCode.RESOURCE_EXHAUSTED, "LOAD_SHED")
    assert error.metadata["outcome"] == "not_executed"
    assert error.retry_after is not None
    await asyncio.sleep(0.2)
    assert [call.done() for call in calls] == [False, False, True, True, True], "nobody waits behind a hung backend"
    await asyncio.gather(*calls, return_exceptions=True)
    assert under.guard.limiter is not None
    assert (under.guard.limiter.shed, under.guard.limiter.in_flight) == (4, 0)


@in_virtual_time
async def test_callers_that_go_away_give_their_turns_back() -> None:
    options = SlotOptions(concurrency=ConcurrencyOptions(min_limit=1, initial_limit=1, max_limit=1))
    under = Under(ScriptedDriver(always=0.05), options)
    calls = [asyncio.ensure_future(under.get()) for _ in range(4)]
    await asyncio.sleep(0.01)
    calls[1].cancel()
    await asyncio.wait(calls[:1])
    calls[2].cancel()  # its turn was given in this very moment
    await asyncio.gather(*calls, return_exceptions=True)
    assert under.guard.limiter is not None
    assert (under.guard.limiter.in_flight, under.guard.limiter.queued) == (0, 0)
    assert calls[3].result() == b"value"


@in_virtual_time
async def test_a_backend_that_answers_an_error_is_there() -> None:
    """Its answers open no circuit, end a row of failures, and tell nothing of how long a call takes."""
    row = [RefusedError()] * 4
    under = Under(ScriptedDriver([*row, AnsweredError(), *row, *[AnsweredError()] * 40]),
                  SlotOptions(retries=RetryOptions(max_attempts=1), circuit=CircuitOptions(max_failures=5)))
    observed: list[float] = []
    assert under.guard.limiter is not None
    under.guard.limiter.window_closed = lambda *figures: observed.append(figures[0])  # type: ignore[method-assign]
    for _ in range(49):
        await under.refused(under.set)
    assert under.guard.circuit.state is State.CLOSED
    assert observed == []
