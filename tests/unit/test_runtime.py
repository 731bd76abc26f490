"""What every process stands on: tasks that end with their owner, pauses, the shared token."""

import asyncio
from pathlib import Path

import pytest

from prism_runtime import tokens
from prism_runtime.backoff import backoff, jittered
from prism_runtime.tasks import Tasks, cancel


async def test_tasks_end_with_their_owner() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(name)

    tasks = Tasks()
    first = tasks.spawn(work("first"))
    tasks.spawn(asyncio.sleep(0))
    tasks.spawn(work("second"))
    await asyncio.sleep(0.01)
    await tasks.close()
    assert sorted(ended) == ["first", "second"]
    assert first.cancelled()


async def test_what_a_cancelled_task_raises_is_dropped() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise RuntimeError("no") from None

    task = asyncio.get_running_loop().create_task(stubborn())
    await asyncio.sleep(0)
    await cancel([None, task])
    assert task.done()


@pytest.mark.parametrize(("failures", "ceiling"), [(0, 0.01), (1, 0.02), (5, 0.32), (6, 0.5), (10_000, 0.5)])
def test_pauses_double_up_to_the_most_and_are_spread_over_half_of_it(failures: int, ceiling: float) -> None:
    pauses = [backoff(failures, 0.01, 0.5) for _ in range(300)]
    assert ceiling / 2 <= min(pauses) < 0.6 * ceiling
    assert 0.9 * ceiling < max(pauses) <= ceiling


def test_jitter_goes_both_ways() -> None:
    values = [jittered(10, 0.2) for _ in range(300)]
    assert 8 <= min(values) < 9
    assert 11 < max(values) <= 12


def test_a_token_is_shown_as_its_reader_expects_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("open sesame\n")
    token = tokens.read_token(file)
    assert tokens.shown(dict(tokens.bearer(token))) == token == "open sesame"
    assert tokens.same(token, b"open sesame")
    assert not tokens.same("", b"open sesame")
    assert tokens.bearer("") == ()
    assert tokens.shown({"authorization": "Basic open sesame"}) == ""


def test_a_token_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text(" \n")
    for path, problem in ((tmp_path / "missing", "No such file"), (empty, "is empty")):
        with pytest.raises(tokens.TokenError, match=problem) as error:
            tokens.read_token(path)
        assert str(path) in str(error.value)
