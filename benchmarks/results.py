"""The outcome of a run, as written to results.json and read by report, chart and goals."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.loads import LoadResult
from benchmarks.statistics import median


@dataclass(frozen=True, slots=True)
class Turn:
    """One load on one server."""

    load: LoadResult
    cpu_seconds: float
    load_cpu_seconds: float

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / self.load.calls * 1e6


@dataclass(slots=True)
class Cell:
    """One server in one row; `skipped` says why there are no figures."""

    server: str
    label: str
    turns: list[Turn] = field(default_factory=list)
    start_ms: list[float] = field(default_factory=list)
    idle_mb: float | None = None
    loaded_mb: float | None = None
    skipped: str = ""

    @property
    def cpu_us(self) -> float | None:
        """Server CPU µs per call, the median of the turns."""
        return median([turn.cpu_us for turn in self.turns]) if self.turns else None

    @property
    def calls_per_second(self) -> float | None:
        return median([turn.load.calls / turn.load.seconds for turn in self.turns]) if self.turns else None

    @property
    def server_busy(self) -> float | None:
        """Share of its core the server used; far below 1 means that the load, not the server, set calls/s."""
        return median([turn.cpu_seconds / turn.load.seconds for turn in self.turns]) if self.turns else None

    @property
    def start(self) -> float | None:
        """Milliseconds from spawn to the first answered call."""
        return median(self.start_ms) if self.start_ms else None

    def latency(self, name: str) -> float | None:
        """Median of `p50_us`, `p99_us` or `p999_us` over the turns."""
        values = [value for turn in self.turns if (value := getattr(turn.load, name)) is not None]
        return median(values) if values else None


@dataclass(slots=True)
class RowResult:
    name: str
    title: str
    cells: list[Cell] = field(default_factory=list)

    def cell(self, server: str) -> Cell | None:
        """The cell of a server that was measured, else None."""
        return next((cell for cell in self.cells if cell.server == server and not cell.skipped), None)


@dataclass(slots=True)
class Run:
    machine: dict[str, str]
    rounds: int
    seconds: float
    rows: list[RowResult] = field(default_factory=list)

    def cell(self, row: str, server: str) -> Cell | None:
        found = next((result for result in self.rows if result.name == row), None)
        return found.cell(server) if found else None

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Run:
        told: dict[str, Any] = json.loads(path.read_text())
        rows = [
            RowResult(row["name"], row["title"], [
                Cell(**{**cell, "turns": [Turn(LoadResult(**turn.pop("load")), **turn) for turn in cell["turns"]]})
                for cell in row["cells"]])
            for row in told["rows"]]
        return cls(**{**told, "rows": rows})
