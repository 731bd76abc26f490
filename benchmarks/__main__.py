"""`python -m benchmarks`: measure our server beside its peers; print the tables, write results.json and results.png."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.chart import draw
from benchmarks.machine import OUT, describe
from benchmarks.measure import measure
from benchmarks.report import render
from benchmarks.results import Run
from benchmarks.rows import ROWS

BUSY = 1.0  # load average above which a run is not worth quoting


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of one second a server, and fewer keys")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="ROW",
                        help=f"measure this row alone; repeatable: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, help="turns of each server (3)")
    parser.add_argument("--seconds", type=float, help="length of a turn (3)")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, for docs/benchmarks.md")
    parser.add_argument("--report", type=Path, metavar="FILE", help="print an earlier results.json, measure nothing")
    options = parser.parse_args()
    if options.report:
        print(render(Run.read(options.report), markdown=options.markdown))
        return
    rounds, seconds = (1, 1.0) if options.quick else (3, 3.0)
    run = Run(describe(), options.rounds or rounds, options.seconds or seconds)
    if float(run.machine["load"]) > BUSY:
        sys.stderr.write(f"the machine is busy (load average {run.machine['load']}): the figures will be too\n")
    for name in options.only or ROWS:
        sys.stderr.write(f"row {name}\n")
        run.rows.append(measure(name, ROWS[name], rounds=run.rounds, seconds=run.seconds, quick=options.quick))
    print(render(run, markdown=options.markdown))
    run.write(OUT / "results.json")
    drawn = draw(run, OUT / "results.png")
    sys.stderr.write(f"wrote {OUT / 'results.json'}{' and results.png' if drawn else ''}\n")


if __name__ == "__main__":
    main()
