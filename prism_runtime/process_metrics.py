"""Figures as Prometheus text, and those that every process has of itself."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Samples = Iterable[tuple[Mapping[str, str], float]]


def process() -> Iterator[str]:
    """CPU time and memory."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield family("process_cpu_seconds_total", "counter", "user and system CPU time",
                 (({}, usage.ru_utime + usage.ru_stime),))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    yield family("process_resident_memory_bytes", "gauge", "resident memory",
                 (({}, pages * os.sysconf("SC_PAGE_SIZE")),))


def family(name: str, kind: str, text: str, samples: Samples) -> str:
    """A metric with its samples."""
    return header(name, kind, text) + "".join(sample(name, labels, value) for labels, value in samples)


def header(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """One line. Label values are names of ours: nothing is escaped."""
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{shown}}} {number(value)}\n" if shown else f"{name} {number(value)}\n"


def number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
