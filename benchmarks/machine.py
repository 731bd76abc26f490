"""What is asked of the operating system: free ports, pinned processes, and what a process has used.

CPU time comes from /proc/PID/stat and not from the clock, because a shared machine can be twice as slow a minute later.
"""

from __future__ import annotations

import os
import platform
import random
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / ".tools"
OUT = ROOT / "benchmarks" / "out"
SERVER_CORE, LOAD_CORE = 0, 1
TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """`command` bound to one core; as it is on a machine with a single core."""
    return ["taskset", "-c", str(core), *command] if (os.cpu_count() or 1) > 1 else list(command)


def free_port() -> int:
    """A port nobody listens on, below the ephemeral range, where outgoing connections of the load would collide."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 20000 and 32000")


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # a thread that ended in between
            continue
        for child in children:
            found += family(int(child))
    return found


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its descendants hold now, and have used since their start."""

    cpu_seconds: float
    rss_bytes: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        cpu, rss, descriptors = 0.0, 0, 0
        for member in family(pid):
            # The name of the process may hold spaces; after its closing parenthesis utime and stime are 12th and 13th.
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            cpu += (int(fields[11]) + int(fields[12])) * TICK
            rss += int(fields[21]) * PAGE
            descriptors += len(os.listdir(f"/proc/{member}/fd"))
        return cls(cpu, rss, descriptors)


class Process:
    """A server under measurement: started pinned, its output kept in a file, stopped on exit."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str],
                 core: int = SERVER_CORE) -> None:
        OUT.mkdir(exist_ok=True)
        self.log = OUT / f"{name}.log"
        self._sink: IO[bytes] = self.log.open("wb")
        self.started = time.perf_counter()
        self._child = subprocess.Popen(
            pinned(core, command), stdout=self._sink, stderr=subprocess.STDOUT, cwd=ROOT,
            env={**os.environ, **environment})

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.terminate()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._sink.close()

    def usage(self) -> Usage:
        """Usage now. RuntimeError, with the end of its output, when the process is gone."""
        self.check()
        return Usage.of(self._child.pid)

    def check(self) -> None:
        if self._child.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
            raise RuntimeError(f"ended with exit code {self._child.returncode}: {tail}")

    def await_listening(self, port: int, limit: float = 20.0) -> float:
        """Wait until the port accepts; seconds since the start of the process."""
        while True:
            self.check()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                if time.perf_counter() - self.started > limit:
                    raise RuntimeError(f"does not listen after {limit:.0f} s") from None
                time.sleep(0.001)
            else:
                return time.perf_counter() - self.started


def describe() -> dict[str, str]:
    """The machine, for readers of the figures."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": str(os.cpu_count()), "kernel": platform.release(), "python": sys.version.split()[0],
            "date": time.strftime("%Y-%m-%d"), "load": f"{os.getloadavg()[0]:.1f}"}
