"""Several processes at one page, one of them killed while it holds calls: the limits hold, and nothing leaks.

Each process writes down when it was admitted and when it was about to release; the truth is worked out from that.
"""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prism_proxy._native.grpc.quota import SharedQuotaTable
from prism_proxy.namespaces.limits import LoadLimits
from prism_proxy.namespaces.quotas import make_quota

pytestmark = pytest.mark.serial

WORKERS, SECONDS = 3, 1.0
EACH = 200  # records that every process must have made
RECORD = struct.Struct("=qq")  # time in ns, +1 admitted or -1 about to release
HAMMER = """
import os, random, struct, sys, time
from prism_proxy._native.grpc.quota import SharedQuotaTable
from prism_proxy.namespaces.quotas import make_quota
from prism_proxy.namespaces.limits import LoadLimits
fd, worker, stop, limits = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], LoadLimits(*map(int, sys.argv[4:]))
quota, random = make_quota(SharedQuotaTable(fd=fd, worker=worker), "orders", limits), random.Random(worker)
held = 0
while not os.path.exists(stop):
    now = time.monotonic_ns()
    if held and random.random() < 0.5:
        os.write(1, struct.pack("=qq", time.monotonic_ns(), -1))
        quota.release(10)
        held -= 1
    elif quota.admit(now) == 0:
        if quota.admit_bytes(10):
            os.write(1, struct.pack("=qq", time.monotonic_ns(), 1))
            held += 1
        else:
            quota.release(0)
while held:
    os.write(1, struct.pack("=qq", time.monotonic_ns(), -1))
    quota.release(10)
    held -= 1
"""


def hammer(page: SharedQuotaTable, worker: int, limits: LoadLimits, out: Path) -> subprocess.Popen[bytes]:
    """A worker that calls without pause, and writes to `out`, until there is a file `stop` beside it."""
    numbers = (limits.requests_per_second, limits.burst, limits.concurrent_calls, limits.bytes_in_flight)
    command = [sys.executable, "-c", HAMMER, str(page.fd), str(worker), str(out.with_name("stop")),
               *(str(int(n)) for n in numbers)]
    with out.open("wb") as file:
        return subprocess.Popen(command, stdout=file, pass_fds=[page.fd])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
    page = SharedQuotaTable(WORKERS)
    mine = make_quota(page, "orders", limits)
    assert mine is not None
    files = [tmp_path / str(worker) for worker in range(WORKERS)]
    processes = [hammer(page, worker, limits, files[worker]) for worker in range(WORKERS)]
    victim = processes[1]
    try:
        until(lambda: all(len(records(file)) >= EACH for file in files))
        until(lambda: sum(change for _, change in records(files[1])) > 0)  # it holds some
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        page.forget(1)
        files.append(tmp_path / "again")
        processes.append(hammer(page, 1, limits, files[-1]))  # the restarted worker
        until(lambda: len(records(files[-1])) >= EACH)
        (tmp_path / "stop").touch()
        assert [process.wait() for process in processes if process is not victim] == [0] * WORKERS
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = [records(file) for file in files]
    logs[1] += [(logs[1][-1][0], -1)] * sum(change for _, change in logs[1])  # what it held ended with it
    assert 2 <= highest([event for log in logs for event in log]) <= 4
    assert mine.usage() == {"concurrent_calls": 0, "bytes_in_flight": 0}
    assert [error.metadata["current"] for error, _ in (mine.explained(2, 0), mine.explained(3, 0))] == ["0", "0"]


def admitted(folder: Path, limits: LoadLimits) -> tuple[int, float]:
    """(calls admitted to all processes together, the seconds between the first and the last)."""
    folder.mkdir()
    page = SharedQuotaTable(WORKERS)
    files = [folder / str(worker) for worker in range(WORKERS)]
    processes = [hammer(page, worker, limits, files[worker]) for worker in range(WORKERS)]
    until(lambda: all(records(file) for file in files))
    time.sleep(SECONDS)  # what is measured
    (folder / "stop").touch()
    assert [process.wait() for process in processes] == [0] * WORKERS
    times = sorted(when for file in files for when, change in records(file) if change > 0)
    return len(times), (times[-1] - times[0]) / 1e9


def test_one_rate_over_processes(tmp_path: Path) -> None:
    """Processes that get no processor for longer than the burst lasts leave tokens unused: then it may try again."""
    limits = LoadLimits(requests_per_second=2000, burst=400)
    for attempt in range(3):
        calls, seconds = admitted(tmp_path / str(attempt), limits)
        assert calls <= 1.01 * 2000 * seconds + 401
        if calls >= 0.9 * 2000 * seconds:
            return
    raise AssertionError(f"only {calls} calls in {seconds} s were admitted")
