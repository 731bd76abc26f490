"""`python -m benchmarks.messaging`: what a message costs on each backend, beside our own Set, a grpc.aio server, and
the brokers without a proxy.

CPU is that of the proxy alone, from /proc. A ratio to Set is taken within one server's turns, one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.loads import LoadError
from benchmarks.machine import Process, describe, free_port
from benchmarks.messaging import direct, load
from benchmarks.messaging.load import MessageResult
from benchmarks.messaging.rows import COUNTED, MEMSTORE, ROWS, SERVERS, Row, Server
from benchmarks.report import number, table
from benchmarks.servers import redis_port
from benchmarks.statistics import median
from benchmarks.toolchain import MissingToolError

HEAD = ("", "B", "us CPU", "x Set", "units/s", "busy", "p50 us", "p99 us", "goal")
WARM_S, WARM_MESSAGES = 0.1, 2_000
TROUBLE = (MissingToolError, LoadError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement: what the generator saw, and the CPU of the server meanwhile."""

    result: MessageResult
    cpu_seconds: float

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds * 1e6 / self.result.units


@dataclass(slots=True)
class Cell:
    """A row on one server with messages of one size."""

    server: str
    name: str
    size: int
    turns: list[Turn] = field(default_factory=list)
    skipped: str = ""

    @property
    def row(self) -> Row:
        return ROWS[self.name]

    @property
    def cpu_us(self) -> float:
        return median([turn.cpu_us for turn in self.turns])

    def goal(self, set_us: float | None) -> tuple[str, bool]:
        """What it is meant to reach, and whether it does."""
        if self.server != MEMSTORE or self.size != 100:
            return "", True
        if self.row.most_p99_us is not None:
            p99 = median([turn.result.p99_us for turn in self.turns])
            return f"p99 <= {self.row.most_p99_us / 1000:g} ms", p99 <= self.row.most_p99_us
        if self.row.most_us is not None:
            return f"<= {self.row.most_us:g} us", self.cpu_us <= self.row.most_us
        if self.row.most_sets is not None and set_us:
            return f"<= {self.row.most_sets:g} x", self.cpu_us <= self.row.most_sets * set_us
        return "", True

    def line(self, set_us: float | None) -> tuple[str, ...]:
        rate = median([turn.result.units / turn.result.seconds for turn in self.turns])
        busy = median([turn.cpu_seconds / turn.result.seconds for turn in self.turns])
        goal, reached = self.goal(set_us)
        return (f"{SERVERS[self.server].label}: {self.row.title}", str(self.size), number(self.cpu_us, 2),
                number(self.cpu_us / set_us, 2) if set_us else "", number(rate, 0), f"{busy:.0%}",
                number(median([turn.result.p50_us for turn in self.turns]), 0),
                number(median([turn.result.p99_us for turn in self.turns]), 0),
                f"{goal}: {'yes' if reached else 'NO'}" if goal else "")


@contextlib.contextmanager
def _running(name: str, server: Server) -> Iterator[tuple[Process, int]]:
    port = free_port()
    with contextlib.ExitStack() as stack:
        if server.beside is not None:
            beside = stack.enter_context(
                Process(f"messages-{name}-beside", server.beside(port), {}, server.beside_core))
            beside.await_listening(redis_port(port))
        process = stack.enter_context(Process(f"messages-{name}", server.command(port), {}))
        process.await_listening(port)
        yield process, port


def _turn(process: Process, port: int, name: str, size: int, seconds: float, messages: int) -> Turn:
    row = ROWS[name]
    if row.broker:
        before = process.usage().cpu_seconds
        return Turn(direct.run(port, name, size, messages), process.usage().cpu_seconds - before)
    bound = f"--messages={messages}" if row.counted and row.mode != "consume" else f"--seconds={seconds}"
    if row.mode == "consume":  # until the queue is empty
        load.run(port, "fill", (f"--size={size}", f"--messages={messages}"))
        bound = "--seconds=60"
    before = process.usage().cpu_seconds
    result = load.run(port, row.mode, (f"--size={size}", bound, *row.flags))
    turn = Turn(result, process.usage().cpu_seconds - before)
    if row.counted and row.mode != "consume":
        load.run(port, "consume", ("--connections=2", "--streams=2", "--seconds=60"))
    return turn


def measure(name: str, rows: Sequence[str], sizes: Sequence[int], rounds: int, seconds: float) -> list[Cell]:
    """All rows on one server, in turns."""
    server = SERVERS[name]
    cells = [Cell(name, row, size) for size in sizes for row in rows
             if ROWS[row].broker == server.broker and (server.ours or ROWS[row].peer)]
    try:
        with _running(name, server) as (process, port):
            for turn, cell in ((turn, cell) for turn in range(-1, rounds) for cell in cells):
                if cell.skipped:
                    continue
                try:
                    if turn < 0:  # what a first call loads is no part of a figure
                        _turn(process, port, cell.name, cell.size, WARM_S, WARM_MESSAGES)
                    else:
                        cell.turns.append(_turn(process, port, cell.name, cell.size, seconds, COUNTED))
                except TROUBLE as trouble:
                    cell.skipped = str(trouble)
    except TROUBLE as trouble:
        for cell in cells:
            cell.skipped = cell.skipped or str(trouble)
    return cells


def render(cells: Sequence[Cell], *, markdown: bool = False) -> str:
    """The table, and why what is missing is missing."""
    sets = {(cell.server, cell.size): cell.cpu_us for cell in cells if cell.row.mode == "set" and cell.turns}
    ours = {size: us for (server, size), us in sets.items() if server == MEMSTORE}
    measured = [cell for cell in cells if cell.turns and not cell.skipped]
    lines = [cell.line(sets.get((cell.server, cell.size), ours.get(cell.size))) for cell in measured]
    skipped = {f"{SERVERS[cell.server].label}, {cell.row.title}, {cell.size} B: skipped, {cell.skipped}": None
               for cell in cells if cell.skipped}
    return "\n".join([table(HEAD, lines, markdown=markdown) if lines else "", *skipped])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.messaging", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short turn of each row on memstore, 100 B")
    parser.add_argument("--server", action="append", choices=list(SERVERS), help="measure this one alone; repeatable")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="ROW",
                        help=f"measure this row alone, beside Set; repeatable: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, help="turns of each row (3)")
    parser.add_argument("--seconds", type=float, help="length of a turn (2)")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args(arguments)
    rounds, seconds = (1, 0.2) if options.quick else (3, 2.0)
    sizes, servers = ((100,), [MEMSTORE]) if options.quick else ((100, 1024), list(SERVERS))
    rows = [row for row in ROWS if options.only is None or row in ("set", *options.only)]
    machine = describe()
    cells = []
    for name in options.server or servers:
        sys.stderr.write(f"{name}\n")
        cells += measure(name, rows, sizes, options.rounds or rounds, options.seconds or seconds)
    print(f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python "
          f"{machine['python']}, load average {machine['load']} at the start; medians. A unit is a delivery where "
          "there are subscribers, else a message.\n")
    print(render(cells, markdown=options.markdown))


if __name__ == "__main__":
    main()
