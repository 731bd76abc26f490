"""Several processes at one page, one of them killed while it holds calls: the limits hold, and nothing leaks.

Each process writes down when it was admitted and when it was about to release; the truth is worked out from that.
"""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

from prism_proxy._native.gate import GatePage
from prism_proxy.namespaces.gates import make_gate
from prism_proxy.namespaces.limits import LoadLimits

WORKERS, SECONDS = 3, 1.2
RECORD = struct.Struct("=qq")  # time in ns, +1 admitted or -1 about to release
HAMMER = """
import os, random, struct, sys, time
from prism_proxy._native.gate import GatePage
from prism_proxy.namespaces.gates import make_gate
from prism_proxy.namespaces.limits import LoadLimits
fd, worker, until, limits = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), LoadLimits(*map(int, sys.argv[4:]))
gate, random = make_gate(GatePage(fd=fd, worker=worker), "orders", limits), random.Random(worker)
held = 0
while (now := time.monotonic_ns()) < until:
    if held and random.random() < 0.5:
        os.write(1, struct.pack("=qq", time.monotonic_ns(), -1))
        gate.release(10)
        held -= 1
    elif gate.admit(now) == 0:
        if gate.admit_bytes(10):
            os.write(1, struct.pack("=qq", time.monotonic_ns(), 1))
            held += 1
        else:
            gate.release(0)
while held:
    os.write(1, struct.pack("=qq", time.monotonic_ns(), -1))
    gate.release(10)
    held -= 1
"""


def hammer(page: GatePage, worker: int, until: int, limits: LoadLimits, out: Path) -> subprocess.Popen[bytes]:
    numbers = (limits.requests_per_second, limits.burst, limits.concurrent_calls, limits.bytes_in_flight)
    command = [sys.executable, "-c", HAMMER, str(page.fd), str(worker), str(until), *(str(int(n)) for n in numbers)]
    with out.open("wb") as file:
        return subprocess.Popen(command, stdout=file, pass_fds=[page.fd])


def records(file: Path) -> list[tuple[int, int]]:
    data = file.read_bytes()
    return list(RECORD.iter_unpack(data[:len(data) // RECORD.size * RECORD.size]))


def highest(events: list[tuple[int, int]]) -> int:
    """The most calls that were in progress at once. A release is written before it happens, so it comes first."""
    level = top = 0
    for _, change in sorted(events):
        level += change
        top = max(top, level)
    return top


def test_concurrent_calls_over_processes_one_of_them_killed(tmp_path: Path) -> None:
    limits = LoadLimits(concurrent_calls=5, bytes_in_flight=40)  # four calls' bytes: both refuse
    page = GatePage(WORKERS)
    mine = make_gate(page, "orders", limits)
    assert mine is not None
    until = time.monotonic_ns() + int((SECONDS + 0.5) * 1e9)
    files = [tmp_path / str(worker) for worker in range(WORKERS)]
    processes = [hammer(page, worker, until, limits, files[worker]) for worker in range(WORKERS)]
    try:
        victim, log = processes[1], files[1]
        deadline = time.monotonic() + 10
        while sum(change for _, change in records(log)) < 1 or len(records(log)) < 200:  # until it holds some
            assert time.monotonic() < deadline
            time.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        page.forget(1)
        again = tmp_path / "again"
        files.append(again)
        processes.append(hammer(page, 1, until, limits, again))  # the restarted worker
        assert [process.wait() for process in processes if process is not victim] == [0] * WORKERS
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = [records(file) for file in files]
    killed_holding = sum(change for _, change in logs[1])
    assert killed_holding >= 0
    ended = logs[1][-1][0]
    logs[1] += [(ended, -1)] * killed_holding
    assert all(len(log) > 20 for log in logs)
    assert 2 <= highest([event for log in logs for event in log]) <= 4
    assert mine.usage() == {"concurrent_calls": 0, "bytes_in_flight": 0}
    assert [error.metadata["current"] for error, _ in (mine.explained(2, 0), mine.explained(3, 0))] == ["0", "0"]


def test_one_rate_over_processes(tmp_path: Path) -> None:
    limits = LoadLimits(requests_per_second=2000, burst=50)
    page = GatePage(WORKERS)
    begin = time.monotonic_ns()
    until = begin + int(SECONDS * 1e9)
    files = [tmp_path / str(worker) for worker in range(WORKERS)]
    processes = [hammer(page, worker, until, limits, files[worker]) for worker in range(WORKERS)]
    assert [process.wait() for process in processes] == [0] * WORKERS
    times = sorted(when for file in files for when, change in records(file) if change > 0)
    seconds = (times[-1] - times[0]) / 1e9
    assert seconds > SECONDS / 3
    assert 0.95 * 2000 * seconds <= len(times) <= 1.02 * 2000 * seconds + 50
