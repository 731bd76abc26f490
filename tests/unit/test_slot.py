"""What a slot makes of a local driver's errors: it calls once, and repeats nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.contracts.pattern import SlotDeclaration
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue.operations import GET
from prism_proxy.slots.operation import Effect, Operation
from prism_proxy.slots.slot import Slot

WHERE = {
    "namespace": "orders", "backend": "fake", "slot": "store", "operation": "Get", "phase": "execute", "attempt": "1"}


class Driver:
    declaration = Declaration("fake", frozenset({"keyvalue_basic"}), state="local", durability="volatile")

    async def open(self) -> None: ...
    async def drain(self, deadline_s: float) -> None: ...
    async def close(self) -> None: ...

    def health(self) -> HealthReport:
        return HealthReport(Health.HEALTHY)

    def classify(self, error: Exception) -> PrismError | None:
        if isinstance(error, ConnectionError):
            return PrismError(StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", "fake is down", retry_after=1.0)
        return None


@pytest.fixture
def slot() -> Slot[Driver]:
    return Slot("store", "orders", Driver())


async def fail(error: BaseException) -> None:
    raise error


def test_ifc2_a_slot_refuses_a_driver_that_lacks_what_it_needs() -> None:
    with pytest.raises(PrismError) as caught:
        Slot("registry", "orders", Driver(), SlotDeclaration(
            "registry", "", frozenset({"keyvalue_basic", "keyvalue_scan"})))
    assert (caught.value.code, caught.value.reason) == (StatusCode.FAILED_PRECONDITION, "SLOT_ERROR")
    assert caught.value.message == (
        "slot registry of namespace 'orders' needs keyvalue_scan, which backend fake does not implement: "
        "choose another backend")


async def test_results_pass(slot: Slot[Driver]) -> None:
    async def add(first: int, *, second: int) -> int:
        return first + second

    assert await slot.call(Operation("Add", Effect.READ), None, add, 1, second=2) == 3


async def test_a_raw_error_is_classified_and_located(slot: Slot[Driver]) -> None:
    raw = ConnectionResetError("peer")
    with pytest.raises(PrismError) as caught:
        await slot.call(GET, None, fail, raw)
    assert (caught.value.code, caught.value.reason) == (StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    assert caught.value.retry_after == 1.0
    assert caught.value.metadata == WHERE
    assert caught.value.__cause__ is raw


async def test_a_drivers_own_error_keeps_what_it_says(slot: Slot[Driver]) -> None:
    said = {"outcome": "not_executed", "phase": "admit"}
    raised = PrismError(StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", "full", said)
    with pytest.raises(PrismError) as caught:
        await slot.call(GET, None, fail, raised)
    assert caught.value.metadata == {**WHERE, **said}
    assert raised.metadata is said, "a shared error object was changed"


@pytest.mark.parametrize("error", [KeyError("defect"), asyncio.CancelledError()], ids=["defect", "cancelled"])
async def test_defects_and_cancellation_pass(slot: Slot[Driver], error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await slot.call(GET, None, fail, error)
    assert caught.value is error


class Caller:
    def time_remaining(self) -> float | None:
        return None


class Shared(Driver):
    declaration = Declaration("fake", frozenset({"keyvalue_basic"}), state="shared", durability="volatile")

    def classify(self, error: Exception) -> PrismError | None:
        found = super().classify(error)
        if found is not None:
            found.__cause__ = error
        return found


@pytest.mark.parametrize("driver", [Driver(), Shared()], ids=["local", "shared"])
@pytest.mark.parametrize("failures", [1, 100])
async def test_a_call_that_met_errors_holds_nothing_once_it_has_ended(driver: Driver, failures: int) -> None:
    slot = Slot("store", "orders", driver)
    left = [failures]

    async def command() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionResetError("peer")

    async def call(caller: Caller) -> None:
        with contextlib.suppress(PrismError):
            await slot.call(GET, caller, command)

    caller = Caller()
    held = weakref.ref(caller)
    gc.disable()
    try:
        await call(caller)
        del caller
        assert held() is None
    finally:
        gc.enable()
