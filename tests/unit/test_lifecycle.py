"""DRN-6: legal transitions only."""

import itertools

import pytest

from prism_proxy.server.lifecycle import Lifecycle, State

PATHS = {
    State.STARTING: [],
    State.RUNNING: [State.RUNNING],
    State.DRAINING: [State.RUNNING, State.DRAINING],
    State.STOPPING: [State.RUNNING, State.DRAINING, State.STOPPING],
    State.STOPPED: [State.RUNNING, State.DRAINING, State.STOPPING, State.STOPPED],
}
LEGAL = {
    (State.STARTING, State.RUNNING), (State.STARTING, State.STOPPING), (State.RUNNING, State.DRAINING),
    (State.DRAINING, State.STOPPING), (State.STOPPING, State.STOPPED),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_DRN_6_legal_transitions_only(old: State, new: State) -> None:  # noqa: N802 - the scenario's name
    told: list[tuple[State, State]] = []
    lifecycle = Lifecycle(lambda before, after: told.append((before, after)))
    for state in PATHS[old]:
        lifecycle.enter(state)
    told.clear()
    if (old, new) in LEGAL:
        lifecycle.enter(new)
        assert (lifecycle.state, told) == (new, [(old, new)])
    else:
        with pytest.raises(RuntimeError, match=f"cannot go from {old.value} to {new.value}"):
            lifecycle.enter(new)
        assert (lifecycle.state, told) == (old, [])
