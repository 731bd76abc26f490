"""Calls at a steady rate through one of three proxies, while a fourth joins, takes its share, gives it back and leaves.

`python -m benchmarks.cluster` prints the percentiles without and with the moves, and how many calls failed. Namespaces
are in one Redis. The proxies share a core; ghz, Redis and the admin have the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc

from benchmarks import toolchain
from benchmarks.machine import LOAD_CORE, ROOT, Process, free_port, pinned
from benchmarks.servers import redis_server
from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc
from prism.admin.v1 import admin_pb2, admin_pb2_grpc

RATE, SECONDS, NAMESPACES = 5000, 12, 16
GET = "prism.interfaces.keyvalue.KeyValueBasicInterface/Get"


class Cluster:
    """`start` gives the port of a proxy; all end with the stack."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self.redis, self.admin = free_port(), free_port()
        self._run("redis", redis_server(self.redis), self.redis, core=LOAD_CORE)
        self._run("admin", [sys.executable, "-m", "prism_admin", "serve", "--db", f"sqlite:///{folder / 'admin.db'}",
                            "--listen", f"127.0.0.1:{self.admin}", "--metrics-listen", "off"], self.admin,
                  core=LOAD_CORE)

    def _run(self, name: str, command: list[str], port: int, **options: int) -> Process:
        process = self._stack.enter_context(Process(f"cluster-{name}", command, {}, **options))
        process.await_listening(port)
        return process

    def start(self, number: int) -> int:
        port = free_port()
        self._run(f"proxy-{number}", [
            sys.executable, "-m", "prism_proxy", "--admin-endpoint", f"127.0.0.1:{self.admin}", "--proxy-id",
            f"proxy-{number}", "--listen", f"127.0.0.1:{port}", "--metrics-listen", "off"], port)
        return port

    def create(self, port: int) -> None:
        store = pb.BackendConfig(backend_type="redis", connection_string=f"redis://127.0.0.1:{self.redis}")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            control = control_plane_pb2_grpc.ControlPlaneStub(channel)
            for number in range(NAMESPACES):
                control.CreateNamespace(pb.CreateNamespaceRequest(
                    namespace=f"tenant-{number}", config=pb.NamespaceConfig(backends={"store": store})))

    def leave(self, number: int) -> int:
        """Partitions that are given to others."""
        with grpc.insecure_channel(f"127.0.0.1:{self.admin}") as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            return len(stub.Rebalance(admin_pb2.RebalanceRequest(leave=f"proxy-{number}")).moves)


@contextmanager
def load(port: int, said: dict[str, object]) -> Iterator[None]:
    """Calls of all namespaces by chance; `said` is ghz's report at the end."""
    metadata = json.dumps({"x-namespace": f"tenant-{{{{randomInt 0 {NAMESPACES - 1}}}}}"})
    command = pinned(LOAD_CORE, [
        toolchain.ghz(), "--insecure", "--format=json", f"--rps={RATE}", f"--duration={SECONDS}s",
        "--duration-stop=wait", "--concurrency=40", "--connections=4", f"--metadata={metadata}", "--proto",
        "proto/prism/interfaces/keyvalue/keyvalue_basic.proto", "--import-paths=proto", "--call",
        GET.replace("/", "."), "--data", '{"key": "k"}', f"127.0.0.1:{port}"])
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    yield
    said.update(json.loads(running.communicate()[0]))


def shown(report: dict[str, object]) -> str:
    codes, percentiles = report["statusCodeDistribution"], report["latencyDistribution"]
    assert isinstance(codes, dict)
    assert isinstance(percentiles, list)
    at = {item["percentage"]: item["latency"] / 1e6 for item in percentiles}
    failed = sum(codes.values()) - codes.get("OK", 0)
    return (f"{report['count']} calls at {report['rps']:.0f}/s, {failed} failed, p50 {at[50]:.2f} ms, "
            f"p99 {at[99]:.2f} ms")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        cluster = Cluster(stack, Path(folder))
        port = cluster.start(1)
        cluster.start(2)
        cluster.start(3)
        cluster.create(port)
        still: dict[str, object] = {}
        with load(port, still):
            pass
        moving: dict[str, object] = {}
        with load(port, moving):
            time.sleep(SECONDS / 4)
            cluster.start(4)
            time.sleep(SECONDS / 4)
            moved = cluster.leave(4)
        print(f"three proxies: {shown(still)}")
        print(f"a fourth joins and gives its {moved} partitions back: {shown(moving)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
