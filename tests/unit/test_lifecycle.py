"""The states of the process, and the end of its parts."""

import asyncio
import itertools

import pytest

from prism_runtime.lifecycle import Lifecycle, State, close_all

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
def test_DRN_6_legal_transitions_only(old: State, new: State) -> None:
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


class Part:
    """Drains only when all its fellows drain as well."""

    def __init__(self, together: asyncio.Barrier, *, fails: bool = False) -> None:
        self._together = together
        self._fails = fails
        self.did: list[object] = []

    async def drain(self, deadline_s: float) -> None:
        self.did.append(deadline_s)
        await self._together.wait()
        if self._fails:
            raise OSError("unwilling")

    async def close(self) -> None:
        self.did.append("closed")


async def test_DRN_4_parts_drain_in_parallel() -> None:
    together = asyncio.Barrier(3)
    parts = [Part(together) for _ in range(3)]
    assert await asyncio.wait_for(close_all(parts, 7), 5) == []
    assert [part.did for part in parts] == [[7, "closed"]] * 3


async def test_a_part_that_fails_is_told_of_and_stops_no_other() -> None:
    together = asyncio.Barrier(3)
    parts = [Part(together), Part(together, fails=True), Part(together)]
    problems = await asyncio.wait_for(close_all(parts, 0), 5)
    assert [str(problem) for problem in problems] == ["unwilling"]
    assert all(part.did[-1] == "closed" for part in parts)
