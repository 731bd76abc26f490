"""Runs one row: starts its servers, checks that each answers exactly, then loads them in turns A B A B.

A server's trouble skips that server with the reason; it never ends the run.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator

import grpc

from benchmarks import workload
from benchmarks.loads import Load, LoadError, LoadResult, PrismLoad
from benchmarks.machine import OUT, Process, free_port
from benchmarks.results import Cell, RowResult, Turn
from benchmarks.rows import Row
from benchmarks.servers import SERVERS
from benchmarks.toolchain import MissingToolError
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as kv_grpc

CHECKED_CALLS = 2000
TROUBLE = (MissingToolError, LoadError, RuntimeError, grpc.RpcError)


def measure(name: str, row: Row, *, rounds: int, seconds: float, quick: bool) -> RowResult:
    """All turns of a row."""
    result = RowResult(name, row.title)
    if row.load is None:
        for server in row.servers:
            result.cells.append(_starts(server, max(rounds, 3)))
        return result
    with contextlib.ExitStack() as stack:
        ready: list[tuple[Cell, Process, int]] = []
        for server in row.servers:
            cell = Cell(server, SERVERS[server].label)
            result.cells.append(cell)
            with _skipping(cell):
                process, port = _launch(name, server)
                stack.enter_context(process)
                beside = SERVERS[server].beside
                if beside is not None:
                    stack.enter_context(Process(
                        f"{name}-{server}-beside", beside(port), {}, SERVERS[server].beside_core))
                process.await_listening(port)
                cell.idle_mb = process.usage().rss_bytes / 1e6
                _prepare(server, port, row.quick_keys if quick else row.keys)
                ready.append((cell, process, port))
        for _ in range(rounds):
            for cell, process, port in ready:
                if not cell.skipped:
                    with _skipping(cell):
                        cell.turns.append(_turn(process, row.load, port, seconds, tls=SERVERS[cell.server].tls))
                        cell.loaded_mb = process.usage().rss_bytes / 1e6
    return result


@contextlib.contextmanager
def _skipping(cell: Cell) -> Iterator[None]:
    try:
        yield
    except TROUBLE as trouble:
        cell.skipped = str(trouble)
        sys.stderr.write(f"{cell.server}: {trouble}\n")


def _launch(row: str, server: str) -> tuple[Process, int]:
    port = free_port()
    spec = SERVERS[server]
    return Process(f"{row}-{server}", spec.command(port), spec.environment), port


def _turn(process: Process, load: Load, port: int, seconds: float, *, tls: bool) -> Turn:
    before, load_before = process.usage().cpu_seconds, _children_cpu()
    seen: LoadResult = load.run(port, seconds, tls=tls)
    return Turn(seen, process.usage().cpu_seconds - before, _children_cpu() - load_before)


def _children_cpu() -> float:
    """CPU seconds of the load generators that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _prepare(server: str, port: int, keys: int) -> None:
    """Store the keys, then prove status, grpc-status and bytes of replies: h2load looks at none of them."""
    spec = SERVERS[server]
    if spec.tls:
        _check_over_tls(port)
        return
    if not spec.fixed:
        PrismLoad((f"--keys={keys}", "--sequential", "--set-percent=100")).calls(port, keys)
    PrismLoad((f"--keys={keys}",)).calls(port, CHECKED_CALLS)


def _check_over_tls(port: int) -> None:
    credentials = grpc.ssl_channel_credentials((OUT / "tls.crt").read_bytes())
    name = [("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, name) as channel:
        stub = kv_grpc.KeyValueBasicInterfaceStub(channel)
        stub.Set(kv.SetRequest(key=workload.key(0), value=workload.value(0)), timeout=10)
        reply = stub.Get(kv.GetRequest(key=workload.key(0)), timeout=10)
    if reply.value != workload.value(0):
        raise LoadError("the value read over TLS is not the value written")


def _starts(server: str, rounds: int) -> Cell:
    """Start it again and again; the first start, which fills file caches, is not counted."""
    cell = Cell(server, SERVERS[server].label)
    with _skipping(cell):
        for number in range(rounds + 1):
            process, port = _launch("start", server)
            with process:
                seconds = process.await_listening(port)
                if server != "bare":
                    first = PrismLoad(("--set-percent=100", "--connections=1", "--streams=1")).calls(port, 1)
                    seconds += first.seconds
                if number:
                    cell.start_ms.append(seconds * 1e3)
                cell.idle_mb = process.usage().rss_bytes / 1e6
    return cell
