"""The PNG of a run: server CPU per call of every server in every row, on a logarithmic axis."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import Run


def draw(run: Run, path: Path) -> bool:
    """Write the chart. False when matplotlib, of the extra `bench`, is not installed or nothing was measured."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = [(row, [cell for cell in row.cells if cell.cpu_us]) for row in run.rows]
    rows = [(row, cells) for row, cells in rows if cells]
    if not rows:
        return False
    figure = Figure(figsize=(11, 1.2 + 0.3 * sum(len(cells) + 1 for _, cells in rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False,
                           gridspec_kw={"height_ratios": [len(cells) for _, cells in rows]})[:, 0]
    for axis, (row, cells) in zip(axes, rows, strict=True):
        values = [cell.cpu_us or 0.0 for cell in cells]
        colours = ["#c8102e" if cell.server.startswith("prism") else "#8a99a8" for cell in cells]
        bars = axis.barh([cell.label for cell in cells], values, color=colours)
        axis.bar_label(bars, [f"{value:.1f}" for value in values], padding=3, fontsize=8)
        axis.set_title(row.title, fontsize=9, loc="left")
        axis.set_xscale("log")
        axis.set_xlim(left=1)  # the bars of a logarithmic axis compare only from one start
        axis.invert_yaxis()
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("server CPU per call, us (less is better)", fontsize=9)
    figure.savefig(path, dpi=120)
    return True
