"""The figures to reach, each computed from the rows of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import Run

FULL_CORE = 0.9  # below this share of its core a server's calls/s say nothing about the server


@dataclass(frozen=True, slots=True)
class Goal:
    """`value(run)` is None when a row it needs was not measured, or not on a full core."""

    text: str
    limit: float
    at_most: bool
    unit: str
    value: Callable[[Run], float | None]

    def reached(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _cpu(row: str, server: str) -> Callable[[Run], float | None]:
    def value(run: Run) -> float | None:
        cell = run.cell(row, server)
        return cell.cpu_us if cell else None

    return value


def _cheaper(row: str, peer: str, ours: str = "prism") -> Callable[[Run], float | None]:
    return lambda run: _ratio(_cpu(row, peer)(run), _cpu(row, ours)(run))


def _faster(row: str, peer: str) -> Callable[[Run], float | None]:
    def value(run: Run) -> float | None:
        cells = [cell for server in ("prism", peer) if (cell := run.cell(row, server))]
        if len(cells) < 2 or any((cell.server_busy or 0.0) < FULL_CORE for cell in cells):
            return None
        return _ratio(cells[0].calls_per_second, cells[1].calls_per_second)

    return value


def _start(run: Run) -> float | None:
    cell = run.cell("start", "prism")
    return cell.start if cell else None


def _idle(run: Run) -> float | None:
    cell = run.cell("start", "prism")
    return cell.idle_mb if cell else None


def _at_most(text: str, limit: float, unit: str, value: Callable[[Run], float | None]) -> Goal:
    return Goal(text, limit, True, unit, value)


def _at_least(text: str, limit: float, value: Callable[[Run], float | None]) -> Goal:
    return Goal(text, limit, False, "x", value)


GOALS: tuple[Goal, ...] = (
    _at_most("Get, CPU per call", 4.5, "us", _cpu("get", "prism")),
    _at_most("Set, CPU per call", 4.5, "us", _cpu("set", "prism")),
    _at_most("moonshot: Get, CPU per call", 2.0, "us", _cpu("get", "prism")),
    _at_least("Get, tonic's CPU over ours", 2.2, _cheaper("get", "tonic")),
    _at_least("Get, our calls/s of one full core over tonic's", 2.2, _faster("get-checked", "tonic")),
    _at_least("moonshot: Get, tonic's CPU over ours", 5.0, _cheaper("get", "tonic")),
    _at_least("Get, grpc-go's CPU over ours", 4.0, _cheaper("get", "grpc_go")),
    _at_least("Get, Envoy's CPU over ours", 3.0, _cheaper("get", "envoy")),
    _at_least("Get, grpc.aio's CPU over ours", 60.0, _cheaper("get", "grpc_aio")),
    _at_least("Get, our calls/s over nghttpd's", 1.0, _faster("get-checked", "nghttpd")),
    _at_least("stock client, grpc.aio's CPU over ours", 10.0, _cheaper("stock", "grpc_aio")),
    _at_most("TLS 1.3, CPU over cleartext", 1.6, "x", lambda run: _ratio(
        _cpu("tls", "prism-tls")(run), _cpu("tls", "prism")(run))),
    _at_least("Python servicer, grpc.aio's CPU over ours", 4.0, _cheaper("servicer", "grpc_aio", "prism-servicer")),
    _at_most("Get over Redis, CPU per call", 8.0, "us", _cpu("redis-get", "prism-redis")),
    _at_most("Set over Redis, CPU per call", 8.0, "us", _cpu("redis-set", "prism-redis")),
    _at_least("Get over Redis, CPU of grpc.aio with redis-py over ours", 30.0,
              _cheaper("redis-get", "redis_py", "prism-redis")),
    _at_most("Get over Redis, CPU per call of 2 workers over that of 1", 1.25, "x",
             _cheaper("redis-get", "prism-redis-2w", "prism-redis")),
    _at_most("two workers, CPU per call, forwarded ones among them", 15.0, "us", _cpu("workers", "prism-2w")),
    _at_most("Get forwarded to another process, CPU of the first", 15.0, "us", _cpu("forward", "prism-forward")),
    _at_most("start to first answered call", 250.0, "ms", _start),
    _at_most("idle memory", 45.0, "MB", _idle),
)


def verdicts(run: Run) -> list[tuple[Goal, float, bool]]:
    """Every goal whose rows were measured, with its value and whether it is reached."""
    return [(goal, value, goal.reached(value)) for goal in GOALS if (value := goal.value(run)) is not None]
