"""What the load generator of messages prints is read exactly, and goals are held to what was measured."""

from __future__ import annotations

import json

import pytest

from benchmarks.loads import LoadError
from benchmarks.messaging.__main__ import Cell, Turn, render
from benchmarks.messaging.load import MessageResult, parse
from benchmarks.messaging.rows import MEMSTORE


def _line(**changes: object) -> str:
    return json.dumps({"messages": 10, "deliveries": 30, "errors": 0, "seconds": 0.5, "p50_us": 1.0, "p99_us": 2.0,
                       "p999_us": 3.0, "max_us": 4.0, "first_error": "", **changes})


def test_a_line_is_read_and_deliveries_are_the_unit_where_there_are_any() -> None:
    assert parse(_line()) == MessageResult(10, 30, 0.5, 1.0, 2.0)
    assert parse(_line()).units == 30
    assert parse(_line(deliveries=0)).units == 10


@pytest.mark.parametrize("changes", [{"errors": 1, "first_error": "a payload is not as it was sent"}, {"messages": 0}])
def test_an_error_or_nothing_at_all_is_no_measurement(changes: dict[str, object]) -> None:
    with pytest.raises(LoadError, match=r"errors in .* messages"):
        parse(_line(**changes))


def _cell(row: str, cpu_us: float) -> Cell:
    return Cell(MEMSTORE, row, 100, [Turn(MessageResult(1000, 0, 1.0, 5.0, 9.0), cpu_us / 1000)])


@pytest.mark.parametrize(("publish", "verdict"), [(2.5, "yes"), (2.7, "NO")])
def test_the_goal_of_publish_is_a_multiple_of_set(publish: float, verdict: str) -> None:
    text = render([_cell("set", 2.0), _cell("publish", publish)])
    assert f"<= 1.3 x: {verdict}" in text


def test_what_was_skipped_is_said_once() -> None:
    cell = Cell("redis", "publish", 100, skipped="redis-server is not installed")
    assert render([cell, cell]).count("redis-server is not installed") == 1
