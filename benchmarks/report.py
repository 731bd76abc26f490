"""The tables of a run, as plain text for a terminal or as Markdown for docs/benchmarks.md and the README."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.goals import verdicts
from benchmarks.results import Cell, RowResult, Run

OURS = ("prism", "prism-1g")
HEAD = ("server", "CPU us/call", "x ours", "calls/s", "busy", "p50 us", "p99 us", "p99.9 us", "idle MB", "loaded MB")
START_HEAD = ("server", "start ms", "idle MB")
GOAL_HEAD = ("goal", "measured", "limit", "reached")


def number(value: float | None, digits: int = 1) -> str:
    """A figure for a table; empty when it was not measured."""
    return "" if value is None else f"{value:,.{digits}f}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Columns of equal width, the first to the left and the others to the right."""
    if markdown:
        rule = ["---", *(["---:"] * (len(head) - 1))]
        return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    return "\n".join(_columns(line, widths) for line in (head, *lines))


def _columns(line: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
    return "  ".join([line[0].ljust(widths[0]), *numbers]).rstrip()


def render(run: Run, *, markdown: bool = False) -> str:
    """Every row, the goals, and our slowest row beside the fastest."""
    parts = [_machine(run)]
    for row in run.rows:
        parts.append(f"{'### ' if markdown else ''}{row.name}: {row.title}")
        parts.append(_row(row, markdown=markdown))
    lines = [(goal.text, f"{number(value, 2)} {goal.unit}",
              f"{'≤' if goal.at_most else '≥'} {goal.limit:g} {goal.unit}", "yes" if reached else "NO")
             for goal, value, reached in verdicts(run)]
    if lines:
        parts.append(f"{'### ' if markdown else ''}goals")
        parts.append(table(GOAL_HEAD, lines, markdown=markdown))
    parts.append(_extremes(run))
    return "\n\n".join(part for part in parts if part)


def _machine(run: Run) -> str:
    machine = run.machine
    return (f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python "
            f"{machine['python']}; server and load on a core each; {run.rounds} x {run.seconds:g} s in turns, medians. "
            f"'x ours' is the server's CPU per call over ours in the same row. 'busy' is the share of its core the "
            f"server used: below 90 % the load generator, or other work on the machine, set calls/s. Load average at "
            f"the start: {machine['load']}.")


def _row(row: RowResult, *, markdown: bool) -> str:
    measured = [cell for cell in row.cells if not cell.skipped]
    if row.name == "start":
        lines: list[tuple[str, ...]] = [(cell.label, number(cell.start, 0), number(cell.idle_mb)) for cell in measured]
        text = table(START_HEAD, lines, markdown=markdown) if lines else ""
    else:
        ours = row.cells[0].cpu_us if row.cells else None
        lines = [_line(cell, ours) for cell in measured]
        text = table(HEAD, lines, markdown=markdown) if lines else ""
    skipped = [f"{cell.label}: skipped, {cell.skipped}" for cell in row.cells if cell.skipped]
    return "\n\n".join([part for part in (text, "\n".join(skipped)) if part])


def _line(cell: Cell, ours: float | None) -> tuple[str, ...]:
    ratio = cell.cpu_us / ours if cell.cpu_us is not None and ours else None
    busy = "" if cell.server_busy is None else f"{cell.server_busy:.0%}"
    return (cell.label, number(cell.cpu_us, 2), number(ratio, 2), number(cell.calls_per_second, 0), busy,
            *(number(cell.latency(name), 0) for name in ("p50_us", "p99_us", "p999_us")),
            number(cell.idle_mb), number(cell.loaded_mb))


def _extremes(run: Run) -> str:
    figures = sorted((cell.cpu_us, row.name) for row in run.rows for cell in row.cells
                     if cell.server in OURS and cell.cpu_us is not None and row.name != "tls")
    if not figures:
        return ""
    (fast, fastest), (slow, slowest) = figures[0], figures[-1]
    return f"Ours, fastest row {fastest}: {fast:.2f} us CPU per call; slowest row {slowest}: {slow:.2f} us."
