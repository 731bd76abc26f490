"""Figures are computed from turns, compared with goals and printed as they were measured."""

from pathlib import Path

import pytest

from benchmarks.goals import verdicts
from benchmarks.loads import LoadResult
from benchmarks.report import render, table
from benchmarks.results import Cell, RowResult, Run, Turn
from benchmarks.soak import Sample, judge
from benchmarks.statistics import median, percentile, slope


def _cell(server: str, *cpu_us: float) -> Cell:
    turns = [Turn(LoadResult(1000, 0.5, 10.0 * us, 20.0, 30.0), us * 1000 / 1e6, 0.25) for us in cpu_us]
    return Cell(server, server.upper(), turns, idle_mb=40.0, loaded_mb=41.5)


def _run() -> Run:
    machine = {"cpu": "CPU", "cores": "2", "kernel": "6", "python": "3", "date": "2026-01-01", "load": "0.1"}
    return Run(machine, 3, 1.0, [
        RowResult("get", "Get", [_cell("prism", 2.0, 9.0, 3.0), _cell("tonic", 6.0),
                                 Cell("envoy", "ENVOY", skipped="no envoy here")]),
        RowResult("uniform", "half", [_cell("prism-1g", 4.0)]),
        RowResult("start", "Start", [Cell("prism", "PRISM", start_ms=[300.0, 200.0, 260.0], idle_mb=44.0)])])


def test_percentile_is_a_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 1001)]
    assert [percentile(ordered, share) for share in (0.0, 0.5, 0.99, 0.999, 1.0)] == [1, 501, 991, 1000, 1000]
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_median_of_odd_and_even_counts() -> None:
    assert median([9.0, 1.0, 5.0]) == 5.0
    assert median([4.0, 1.0]) == 2.5


def test_slope_is_least_squares() -> None:
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="different x"):
        slope([(1.0, 1.0), (1.0, 2.0)])


def test_cell_takes_medians_over_turns() -> None:
    cell = _cell("prism", 2.0, 9.0, 3.0)
    assert cell.cpu_us == pytest.approx(3.0)
    assert cell.calls_per_second == pytest.approx(2000)
    assert cell.latency("p50_us") == pytest.approx(30.0)


def test_goals_use_ratios_of_the_same_row_and_skip_what_was_not_measured() -> None:
    found = {goal.text: (value, reached) for goal, value, reached in verdicts(_run())}
    assert found["Get, CPU per call"] == (pytest.approx(3.0), True)
    assert found["Get, tonic's CPU over ours"] == (pytest.approx(2.0), False)
    assert found["start to first answered call"] == (pytest.approx(260.0), False)
    assert found["idle memory"] == (pytest.approx(44.0), True)
    assert not any("Envoy" in text for text in found)


@pytest.mark.parametrize(("busy_us", "expected"), [(490.0, 2.0), (400.0, None)])
def test_calls_per_second_are_compared_on_full_cores_only(busy_us: float, expected: float | None) -> None:
    ours = Cell("prism", "PRISM", [Turn(LoadResult(1000, 0.5), busy_us * 1e-3, 0.1)])
    theirs = Cell("nghttpd", "NGHTTPD", [Turn(LoadResult(500, 0.5), 0.49, 0.1)])
    run = Run(_run().machine, 1, 0.5, [RowResult("get-checked", "Get", [ours, theirs])])
    values = {goal.text: value for goal, value, _ in verdicts(run)}
    assert values.get("Get, our calls/s over nghttpd's") == expected


def test_report_tells_figures_skips_and_extremes() -> None:
    text = render(_run())
    line = next(line for line in text.splitlines() if line.startswith("TONIC"))
    assert line.split() == ["TONIC", "6.00", "2.00", "2,000", "1%", "60", "20", "30", "40.0", "41.5"]
    assert "ENVOY: skipped, no envoy here" in text
    assert "fastest row get: 3.00 us CPU per call; slowest row uniform: 4.00 us" in text


def test_markdown_table_has_as_many_columns_in_every_line() -> None:
    lines = table(("a", "b"), [("x", "1"), ("y", "22")], markdown=True).splitlines()
    assert lines == ["| a | b |", "| --- | ---: |", "| x | 1 |", "| y | 22 |"]


def test_results_survive_the_file(tmp_path: Path) -> None:
    run = _run()
    run.write(tmp_path / "results.json")
    assert Run.read(tmp_path / "results.json") == run


def test_soak_judges_growth_of_the_second_half_only() -> None:
    samples = [Sample(n * 10_000_000, 50_000_000 + min(n, 4) * 5_000_000, 12) for n in range(1, 9)]
    verdict = judge(samples, descriptors_before=12)
    assert verdict.sound
    assert verdict.growth == pytest.approx(0)
    assert verdict.limit == pytest.approx(3e6)


def test_short_soak_may_grow_by_a_megabyte() -> None:
    samples = [Sample(n * 1_000, 50_000_000 + n * 100_000, 12) for n in range(1, 9)]
    assert judge(samples, descriptors_before=12).sound


@pytest.mark.parametrize(("growth", "descriptors"), [(1_100_000, 12), (0, 13)])
def test_soak_is_not_sound_when_memory_grows_or_descriptors_stay(growth: int, descriptors: int) -> None:
    samples = [Sample(n * 10_000_000, 50_000_000 + n * growth, descriptors) for n in range(1, 9)]
    assert not judge(samples, descriptors_before=12).sound
