"""Runs load/message_load.c and reads what it tells. A message that is missing or changed is an error, no figure."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import toolchain
from benchmarks.loads import LoadError
from benchmarks.machine import LOAD_CORE, ROOT, pinned


@dataclass(frozen=True, slots=True)
class MessageResult:
    """What the generator saw. Percentiles in µs: of deliveries where there are subscribers, else of calls."""

    messages: int
    deliveries: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def units(self) -> int:
        """What the cost is shared by: deliveries where there are subscribers, else messages."""
        return self.deliveries or self.messages


def run(port: int, mode: str, flags: Sequence[str]) -> MessageResult:
    """LoadError when anything was not as it must be."""
    command = pinned(LOAD_CORE, [toolchain.message_load(), mode, *flags, f"127.0.0.1:{port}"])
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if not done.stdout.startswith("{"):
        raise LoadError(f"message_load failed: {done.stderr.strip()[-300:]}")
    return parse(done.stdout)


def parse(text: str) -> MessageResult:
    told = json.loads(text)
    if told["errors"] or not told["messages"]:
        raise LoadError(f"{told['errors']} errors in {told['messages']} messages; the first: {told['first_error']}")
    return MessageResult(told["messages"], told["deliveries"], told["seconds"], told["p50_us"], told["p99_us"])
