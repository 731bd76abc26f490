"""The load generators behind one call: `run(target, seconds) -> LoadResult`. Each runs pinned, as its own process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks import toolchain, workload
from benchmarks.machine import LOAD_CORE, ROOT, pinned

PROTO_OF_GET = "prism/interfaces/keyvalue/keyvalue_basic.proto"


class LoadError(Exception):
    """The generator failed, or a call had another outcome than it must have."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What the generator saw. Percentiles in µs, None where it does not tell them."""

    calls: int
    seconds: float
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None


class Load(Protocol):
    """A way of making calls for some seconds."""

    def run(self, port: int, seconds: float, *, tls: bool = False) -> LoadResult: ...


@dataclass(frozen=True, slots=True)
class H2Load:
    """8 connections of 10 streams, the same call again and again. It does not look at replies: check them before."""

    operation: str

    def run(self, port: int, seconds: float, *, tls: bool = False) -> LoadResult:
        out = _output([
            toolchain.program("h2load", "apt: nghttp2-client"), f"--duration={seconds * 1e3:.0f}ms", "--threads=1",
            f"--clients={workload.CONNECTIONS}", f"--max-concurrent-streams={workload.STREAMS}",
            "--header=te: trailers", "--header=content-type: application/grpc",
            f"--data={workload.request_file(self.operation)}",
            f"{'https' if tls else 'http'}://127.0.0.1:{port}/{workload.SERVICE}/{self.operation}"])
        return parse_h2load(out)


@dataclass(frozen=True, slots=True)
class PrismLoad:
    """Our own generator (load/prism_load.c): every reply is checked, percentiles are told."""

    flags: Sequence[str] = ()

    def run(self, port: int, seconds: float, *, tls: bool = False) -> LoadResult:
        return self._run(port, f"--seconds={seconds}")

    def calls(self, port: int, count: int) -> LoadResult:
        """Exactly `count` calls."""
        return self._run(port, f"--calls={count}")

    def _run(self, port: int, bound: str) -> LoadResult:
        return parse_json(_output([toolchain.prism_load(), bound, *self.flags, f"127.0.0.1:{port}"]))


@dataclass(frozen=True, slots=True)
class StockClient:
    """grpcio's own asynchronous client with 32 calls in flight."""

    in_flight: int = 32

    def run(self, port: int, seconds: float, *, tls: bool = False) -> LoadResult:
        return parse_json(_output([sys.executable, "-m", "benchmarks.load.stock_client", f"127.0.0.1:{port}",
                                   str(self.in_flight), str(seconds)]))


@dataclass(frozen=True, slots=True)
class Ghz:
    """ghz, the usual gRPC load tool: 80 calls in flight over 8 connections."""

    def run(self, port: int, seconds: float, *, tls: bool = False) -> LoadResult:
        report = json.loads(_output([
            toolchain.ghz(), "--insecure", "--format=json", f"--duration={seconds}s", "--duration-stop=wait",
            f"--concurrency={workload.CONNECTIONS * workload.STREAMS}", f"--connections={workload.CONNECTIONS}",
            f"--import-paths={ROOT / 'proto'}", f"--proto={ROOT / 'proto' / PROTO_OF_GET}",
            f"--call={workload.SERVICE}/Get", f'--data={{"key": "{workload.key(0)}"}}', f"127.0.0.1:{port}"]))
        return parse_ghz(report)


def parse_h2load(text: str) -> LoadResult:
    """The closing lines of h2load. LoadError when any request failed."""
    finished = re.search(r"^finished in ([\d.]+)(us|ms|s|m)?,", text, re.MULTILINE)
    requests = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$", text, re.MULTILINE)
    if finished is None or requests is None:
        raise LoadError(f"h2load printed no result: {text.strip()[-200:]!r}")
    succeeded, *bad = (int(group) for group in requests.groups())
    if succeeded == 0 or any(bad):
        raise LoadError(f"h2load: {succeeded} succeeded, {sum(bad)} did not")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[finished[2] or "s"]
    return LoadResult(succeeded, float(finished[1]) * unit)


def parse_json(text: str) -> LoadResult:
    """The one line that prism_load and the stock client print. LoadError when a reply was wrong."""
    told = json.loads(text.strip().splitlines()[-1])
    if told["errors"] or not told["calls"]:
        raise LoadError(f"{told['errors']} of {told['calls']} calls failed; the first: {told['first_error']}")
    return LoadResult(told["calls"], told["seconds"], told["p50_us"], told["p99_us"], told["p999_us"])


def parse_ghz(report: dict[str, object]) -> LoadResult:
    """ghz's JSON report; it tells no 99.9th percentile."""
    codes = report["statusCodeDistribution"]
    if not isinstance(codes, dict) or set(codes) != {"OK"}:
        raise LoadError(f"ghz saw statuses {codes}")
    distribution = report["latencyDistribution"]
    assert isinstance(distribution, list)
    shares = {item["percentage"]: item["latency"] / 1e3 for item in distribution}
    return LoadResult(int(str(report["count"])), float(str(report["total"])) / 1e9, shares.get(50), shares.get(99))


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, cwd=ROOT)
    # prism_load exits 1 when a reply was wrong, and its line of JSON then says what.
    if done.returncode != 0 and not done.stdout.startswith("{"):
        raise LoadError(f"{command[0].rpartition('/')[2]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
