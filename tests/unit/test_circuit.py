"""The circuit breaker as a state machine, against a model of its rules."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from prism_proxy._native.slots.circuit import CircuitCore
from prism_proxy.slots.circuit import Circuit, State
from prism_proxy.slots.options import CircuitOptions

MAX_FAILURES = 3
RESET_S = 30.0


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def circuit(time: Time) -> Circuit:
    return Circuit(CircuitOptions(), time)


def call(circuit: Circuit, *, fails: bool) -> bool:
    """Whether the call was made."""
    permit = circuit.admit()
    if permit is None:
        return False
    if fails:
        circuit.failed(permit, "BACKEND_UNAVAILABLE")
    else:
        circuit.succeeded(permit)
    return True


def test_buf2_five_failures_in_a_row_open_it_and_a_probe_after_30_s_closes_it(circuit: Circuit, time: Time) -> None:
    for _ in range(4):
        call(circuit, fails=True)
    call(circuit, fails=False)
    for _ in range(4):
        call(circuit, fails=True)
    assert circuit.state is State.CLOSED, "a success between failures was not counted"
    call(circuit, fails=True)
    assert (circuit.state, circuit.last_failure) == (State.OPEN, "BACKEND_UNAVAILABLE")
    time.now = 29.9
    assert not call(circuit, fails=False)
    assert circuit.retry_after() == pytest.approx(0.1)
    time.now = 30
    assert call(circuit, fails=False)
    assert circuit.state is State.CLOSED


def test_one_probe_at_a_time_and_its_failure_opens_the_circuit_for_as_long_again(circuit: Circuit, time: Time) -> None:
    for _ in range(5):
        call(circuit, fails=True)
    time.now = 30
    probe = circuit.admit()
    assert probe is not None
    assert circuit.state is State.HALF_OPEN
    assert circuit.admit() is None
    circuit.failed(probe, "BACKEND_UNAVAILABLE")
    assert circuit.state is State.OPEN
    time.now = 59
    assert circuit.admit() is None
    time.now = 60
    assert circuit.admit() is not None


def test_a_probe_that_was_given_up_frees_the_place(circuit: Circuit, time: Time) -> None:
    for _ in range(5):
        call(circuit, fails=True)
    time.now = 30
    probe = circuit.admit()
    assert probe is not None
    circuit.released(probe)
    assert call(circuit, fails=False)


def test_calls_from_before_the_last_change_are_not_heard(circuit: Circuit, time: Time) -> None:
    old = [circuit.admit() for _ in range(12)]
    for permit in old[:5]:
        circuit.failed(permit or 0, "BACKEND_UNAVAILABLE")
    circuit.succeeded(old[5] or 0)
    assert circuit.state is State.OPEN, "a straggler closed it"
    time.now = 30
    assert call(circuit, fails=False)
    for permit in old[6:]:
        circuit.failed(permit or 0, "BACKEND_UNAVAILABLE")
    assert circuit.state is State.CLOSED, "stragglers opened it again"


def test_a_backend_that_returned_is_probed_at_once(circuit: Circuit) -> None:
    circuit.backend_returned()
    for _ in range(5):
        call(circuit, fails=True)
    assert circuit.admit() is None
    circuit.backend_returned()
    assert call(circuit, fails=False)
    assert circuit.state is State.CLOSED


def test_native_handlers_share_the_count(circuit: Circuit) -> None:
    core: CircuitCore = circuit
    for _ in range(4):
        core.record_failure("BACKEND_UNAVAILABLE")
    core.record_success()
    for _ in range(4):
        core.record_failure("BACKEND_UNAVAILABLE")
    assert core.closed
    call(circuit, fails=True)
    assert not core.closed
    core.record_failure("LATE")
    assert (circuit.opened, circuit.last_failure) == (1, "BACKEND_UNAVAILABLE")


class CircuitMachine(RuleBasedStateMachine):
    """Calls begin and end in any order while time passes."""

    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.changes = [State.CLOSED]
        self.circuit = Circuit(CircuitOptions(max_failures=MAX_FAILURES, reset_timeout_s=RESET_S), self.time,
                               self.changes.append)
        self.probe: int | None = None
        self.in_a_row = 0
        self.opened_at = 0.0

    @rule(target=permits)
    def begin(self) -> tuple[int | None, int]:
        state, allowed = self.circuit.state, self.circuit.allows()
        permit = self.circuit.admit()
        assert (permit is not None) == allowed
        if state is State.CLOSED:
            assert permit is not None
        elif state is State.OPEN:
            assert (permit is not None) == (self.time.now >= self.opened_at + RESET_S)
        else:
            assert (permit is not None) == (self.probe is None)
        if state is not State.CLOSED and permit is not None:
            self.probe = permit
        return permit, len(self.changes)

    @rule(begun=consumes(permits), how=st.sampled_from(["succeeded", "failed", "released"]))
    def end(self, begun: tuple[int | None, int], how: str) -> None:
        permit, then = begun
        if permit is None:
            return
        before, current = self.circuit.state, then == len(self.changes)
        if how == "failed":
            self.circuit.failed(permit, "REASON")
        else:
            getattr(self.circuit, how)(permit)
        if not current:
            assert self.circuit.state is before, "a call of another time changed the state"
        elif before is State.CLOSED:
            self.in_a_row = self.in_a_row + 1 if how == "failed" else 0 if how == "succeeded" else self.in_a_row
            assert self.circuit.state is (State.OPEN if self.in_a_row == MAX_FAILURES else State.CLOSED)
        else:
            expected = {"succeeded": State.CLOSED, "failed": State.OPEN, "released": State.HALF_OPEN}[how]
            assert self.circuit.state is expected
            self.probe = None
        if self.circuit.state is not before:
            self.in_a_row = 0
            self.opened_at = self.time.now

    @rule(seconds=st.sampled_from([0.1, 1.0, RESET_S / 2, RESET_S]))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds

    @invariant()
    def the_flag_tells_the_state(self) -> None:
        assert self.circuit.closed == (self.circuit.state is State.CLOSED)
        assert self.circuit.failures < MAX_FAILURES

    @invariant()
    def the_states_follow_the_diagram(self) -> None:
        allowed = {(State.CLOSED, State.OPEN), (State.OPEN, State.HALF_OPEN), (State.HALF_OPEN, State.OPEN),
                   (State.HALF_OPEN, State.CLOSED)}
        assert set(zip(self.changes, self.changes[1:], strict=False)) <= allowed


TestCircuitMachine = CircuitMachine.TestCase
